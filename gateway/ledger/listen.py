"""Hearing of other processes' commits on PostgreSQL: one connection that listens, made again whenever it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

import psycopg

from gateway.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.ledger.connections import Connection

LOG = logging.getLogger("portcullis.ledger")
CHANNEL = "portcullis"
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0


class Listener:
    """Listens from its first `wait` on. What was said while nobody listened is unknown, so it counts as news."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]]) -> None:
        self._connect = connect
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def wait(self, timeout: float) -> bool:
        """Wait for news since the last time; False after `timeout` seconds without any."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._listen(), name="listen to the ledger")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._news.wait()
        heard = self._news.is_set()
        self._news.clear()
        return heard

    async def close(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _listen(self) -> None:
        pause, well = FIRST_PAUSE_SECONDS, True
        while True:
            try:
                async with await self._connect() as connection:
                    await connection.execute(f"listen {CHANNEL}")
                    if not well:
                        LOG.info("the ledger's notifications are heard again")
                    pause, well = FIRST_PAUSE_SECONDS, True
                    self._news.set()
                    async for _ in connection.notifies():
                        self._news.set()
            except (psycopg.Error, Unavailable, OSError) as error:
                if well:
                    LOG.warning("the ledger's notifications are not heard: %s", str(error).partition("\n")[0])
                well = False
            # The database may be away, and whoever waits should know.
            self._news.set()
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
