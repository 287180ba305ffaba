"""Processes of one server, started until they speak and stopped until they have gone; each a server of its own."""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.child import Command
from gateway.config.headers import CallerUnnamed, filled
from gateway.errors import UpstreamFailed
from gateway.upstream.command import environment, problem
from gateway.upstream.era import Legacy
from gateway.upstream.errands import Errands
from gateway.upstream.failures import TENANT_WANTED
from gateway.upstream.owner import Owner
from gateway.upstream.server import UpstreamServer
from gateway.upstream.slots import NoRoom
from gateway.upstream.stderr import Voice
from gateway.upstream.stdio import Pipe

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model import Principal
    from gateway.upstream.slots import Slot, Slots
    from gateway.upstream.target import StdioTarget

LOG = logging.getLogger("portcullis.stdio")


class NotStarted(UpstreamFailed):
    """A process did not come to speak the protocol."""


class EndedAtTheProbe(NotStarted):
    """It ended when it was asked what it speaks."""


@dataclass(eq=False, slots=True)
class Running:
    """A process that speaks, since a time of the clock; `stopping` once it is being ended."""

    pipe: Pipe
    server: UpstreamServer
    slot: Slot
    voice: Voice
    who: str
    since: float
    stopping: asyncio.Task[None] | None = None


class Starter:
    """Starts and stops the processes of one server."""

    def __init__(self, target: StdioTarget, slots: Slots, clock: Callable[[], float]) -> None:
        self._target = target
        self._slots = slots
        self._clock = clock
        # Whether its processes are known to speak an older revision, so that they need not be asked first.
        self._older = False
        self._stopping: set[asyncio.Task[None]] = set()

    async def start(self, caller: Principal | None) -> Running:
        """Return a new process that speaks the protocol; raises NotStarted, UpstreamFailed where there is no room."""
        owner = None if caller is None else Owner.of(caller)
        command = self._command(caller, owner)
        if (wrong := problem(self._target.command, command.directory, command.environment)) is not None:
            LOG.error("%s cannot be started: %s: %s", command.name, *wrong)
            what = "folder" if wrong[0] == "cwd" else "command"
            raise NotStarted(self._target.server, f"cannot be started: its {what} is not there")
        if self._older:
            # Where it has become newer meanwhile, the next start finds out.
            self._older = False
            return await self._attempt(owner, command, older=True)
        try:
            return await self._attempt(owner, command, older=False)
        except EndedAtTheProbe:
            # Some older servers end at a message that they do not expect.
            return await self._attempt(owner, command, older=True)

    def stop(self, running: Running) -> asyncio.Task[None]:
        """Begin to end a process, unless that has begun; it goes on whoever waits for it."""
        if running.stopping is None:
            running.slot.idle_since = float("-inf")
            running.stopping = asyncio.create_task(self._stop(running))
            self._stopping.add(running.stopping)
            running.stopping.add_done_callback(self._stopping.discard)
        return running.stopping

    async def close(self) -> None:
        """Wait for those that are being ended."""
        await asyncio.gather(*self._stopping)

    async def _attempt(self, owner: Owner | None, command: Command, *, older: bool) -> Running:
        running = await self._spawned(owner, command)
        process, speaks = running.pipe.process, False
        LOG.info("%s: process %d is started", running.who, process.pid)
        try:
            era = await running.server.open(older=older)
            if process.ended:
                # Its last words were that it speaks the protocol; nobody would hear of its end any more.
                raise UpstreamFailed(self._target.server, process.why)
            speaks = True
        except UpstreamFailed as error:
            said = f", and said last: {last}" if (last := running.voice.last_words) else ""
            LOG.error("%s: process %d is no server: it %s%s", running.who, process.pid, error.why, said)
            kind = EndedAtTheProbe if process.ended and not older else NotStarted
            raise kind(error.server, error.why) from error
        finally:
            if not speaks:
                self.stop(running)
        self._older = isinstance(era, Legacy)
        running.pipe.settled = True
        return running

    async def _spawned(self, owner: Owner | None, command: Command) -> Running:
        name = self._target.server
        try:
            slot = await self._slots.take(owner)
        except NoRoom as error:
            raise UpstreamFailed(name, "has no room to run: as many processes as there may be are at work") from error
        voice = Voice(command.name, self._clock)
        pipe = Pipe(name, voice)
        with ExitStack() as undone:
            undone.callback(self._slots.free, slot)
            try:
                await pipe.process.start(command)
            except OSError as error:
                LOG.error("%s cannot be started: %s", command.name, error)
                raise NotStarted(name, "cannot be started") from error
            undone.pop_all()
        server = UpstreamServer(self._target, pipe, Errands(), self._clock)
        running = Running(pipe, server, slot, voice, command.name, self._clock())
        slot.end = lambda: asyncio.shield(self.stop(running))
        return running

    async def _stop(self, running: Running) -> None:
        process = running.pipe.process
        try:
            await running.server.close()
        finally:
            self._slots.free(running.slot)
            running.voice.close()
            LOG.info("%s: process %d has ended with status %s", running.who, process.pid, process.status)

    def _command(self, caller: Principal | None, owner: Owner | None) -> Command:
        target = self._target
        try:
            variables = filled(target.environment, caller)
        except CallerUnnamed as error:
            raise UpstreamFailed(target.server, TENANT_WANTED) from error
        who = f"{target.server} (to be listed)" if owner is None else f"{target.server} ({owner})"
        return Command(who, target.command, environment(variables), target.directory)
