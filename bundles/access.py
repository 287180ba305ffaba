"""The ledger as sync has it: opened when it is needed, listened to while it is open, let go of when it fails."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from gateway.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.ledger import Ledger

# The ledger says when it changed; this is for when it could not.
POLL_SECONDS = 2.0


class Access:
    """`hint` is called whenever the ledger says that it may have changed."""

    def __init__(self, open_ledger: Callable[[], Awaitable[Ledger]], hint: Callable[[], None]) -> None:
        self._open = open_ledger
        self._hint = hint
        self._ledger: Ledger | None = None
        self._listening: asyncio.Task[None] | None = None

    @property
    def ledger(self) -> Ledger:
        """The ledger, if it is open; raises Unavailable."""
        if self._ledger is None:
            raise Unavailable("the ledger is away")
        return self._ledger

    async def open(self) -> Ledger:
        """Return the ledger, opened if it is not; raises Unavailable."""
        if self._ledger is None:
            self._ledger = await self._open()
            self._listening = asyncio.create_task(self._listen(self._ledger), name="listen to the ledger")
        return self._ledger

    async def close(self) -> None:
        """Let go of the ledger."""
        ledger, self._ledger = self._ledger, None
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
            await asyncio.wait({listening})
        if ledger is not None:
            await ledger.close()

    async def _listen(self, ledger: Ledger) -> None:
        with contextlib.suppress(Unavailable):
            while True:
                if await ledger.changed(POLL_SECONDS):
                    self._hint()
        self._hint()
