"""The sync service as a whole: its files, its follower, its listener; one exit stack, in dependency order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from aiohttp import web

from bundles.follow import HEARTBEAT_SECONDS, Follower
from bundles.publisher import Publisher
from bundles.record import Record
from bundles.replicas import Replicas
from bundles.server import Api
from bundles.sources import Sources
from gateway.config.files import FileWatch
from gateway.errors import ConfigError
from gateway.ledger.connect import open_ledger

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from types import TracebackType

    from bundles.bundle import Content
    from bundles.configurations import Configurations
    from bundles.custom import CustomPolicy
    from bundles.signing import SigningKey
    from gateway.config import Config
    from gateway.facts import Replica
    from gateway.model import AuditEvent

LOG = logging.getLogger("portcullis.sync")


@dataclass(frozen=True, slots=True)
class Settings:
    """What sync runs on. `listener` is a bound socket; `load_key` reads the signing key, again on every reload.

    `event` makes the audit event of a policy that is published anew, from its bundle's name and content; `resident` is
    a replica that no ledger knows.
    """

    configurations: Configurations
    ledger_url: str = field(repr=False)
    control_token: str
    load_key: Callable[[], SigningKey]
    load_custom: Callable[[Config], Awaitable[CustomPolicy]]
    listener: socket.socket
    event: Callable[[str, Content], AuditEvent | None]
    heartbeat: float = HEARTBEAT_SECONDS
    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    resident: Replica | None = None


class SyncService:
    """Serves while it is entered. What is wrong with the files is told, and keeps it from serving nothing else."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.sources = Sources(settings.configurations, settings.load_custom)
        boot = _boot(settings.now())
        replicas = Replicas(settings.monotonic, boot, settings.resident)
        self.publisher = Publisher(settings.load_key(), boot, replicas)
        self.follower = Follower(
            lambda: open_ledger(settings.ledger_url, "sync"),
            self.sources,
            self.publisher,
            Record(settings.event),
            settings.now,
            settings.heartbeat,
        )
        self._stack = contextlib.AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._asked = asyncio.Event()

    @property
    def address(self) -> tuple[str, int]:
        """The host and port that it listens on."""
        host, port = self.settings.listener.getsockname()[:2]
        return str(host), int(port)

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self.settings.listener.close)
            stack.push_async_callback(self.follower.close)
            stack.push_async_callback(self._cancel)
            self._tasks = [
                asyncio.create_task(self.follower.run(), name="follow the ledger"),
                asyncio.create_task(self.sources.run(self.follower.hint), name="read the files"),
                asyncio.create_task(FileWatch(self._files).every_change(self.reload), name="watch the files"),
                asyncio.create_task(self._reload_when_asked(), name="reload"),
            ]
            await self._listen(stack)
            stack.callback(self.publisher.close)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def request_reload(self) -> None:
        """Have the files and the key read again soon, changed or not."""
        self._asked.set()

    async def reload(self) -> None:
        """Read the files and the key again; what is wrong with them is logged, and what was in force stays."""
        await self.sources.reread()
        self.follower.hint()
        try:
            key = self.settings.load_key()
        except ConfigError as error:
            LOG.error("the signing key is refused, the last one stays in use: %s", error)
            return
        if key.id != self.publisher.key.id:
            LOG.warning("bundles are signed with %s from now on, and no longer with %s", key.id, self.publisher.key.id)
            self.publisher.key = key
            self.follower.renew()

    async def _reload_when_asked(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self.reload()

    async def failed(self) -> None:
        """Wait until a part of the service ends, which none should; raises what ended it."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def _listen(self, stack: contextlib.AsyncExitStack) -> None:
        api = Api(
            self.publisher,
            self.settings.control_token,
            self.follower.look,
            self.follower.hint,
            self.follower.health,
        )
        runner = web.AppRunner(
            api.application(),
            access_log=None,
            handler_cancellation=True,
            auto_decompress=False,
            keepalive_timeout=75.0,
            lingering_time=0,
            shutdown_timeout=1.0,
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.SockSite(runner, self.settings.listener).start()

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _files(self) -> set[Path]:
        known = self.settings.configurations.known
        custom = known.config.opa.custom_policies
        return {*self.settings.configurations.files, *({custom} if custom else ())}


def _boot(now: float) -> str:
    """Return what no other life of sync has in its ETags."""
    return f"{int(now):x}{os.urandom(3).hex()}"
