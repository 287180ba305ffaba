"""One server that is started here: a process for each owner, from its first request until it has been idle for long.

`slots` says how many there may be; `stdio` speaks to one; and each of them is a server of its own to `server`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.errors import UpstreamFailed
from gateway.in_flight import InFlight
from gateway.single_flight import SingleFlight
from gateway.upstream.owner import Owner
from gateway.upstream.starting import NotStarted, Starter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.mcp.answers import Answer
    from gateway.mcp.definitions import Offered
    from gateway.mcp.params import ParamHeaders
    from gateway.model import Principal
    from gateway.upstream.call import Call
    from gateway.upstream.slots import Slots
    from gateway.upstream.starting import Running
    from gateway.upstream.target import StdioTarget

LOG = logging.getLogger("portcullis.stdio")

# What ran for so long did not end because of how it was started; what did not is started again less and less often.
RAN_WELL_SECONDS = 10.0
FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 30.0
# Its lists are asked for again after so long, though it did not say that they are others.
LIST_AGAIN_SECONDS = 3600.0


@dataclass(eq=False, slots=True)
class Seat:
    """An owner's place: its process, if it has one, who uses it, and when the next may be started.

    `caller` is the first of the owner's; what processes are told of a caller is the same for all of them.
    """

    caller: Principal
    opening: SingleFlight[Running]
    running: Running | None = None
    users: int = 0
    delay: float = 0.0
    not_before: float = 0.0
    timer: asyncio.TimerHandle | None = field(default=None, repr=False)


class StdioServer:
    """One server; every failure of it is UpstreamFailed. It is listed by a process that is nobody's, and ends then."""

    def __init__(self, target: StdioTarget, slots: Slots, clock: Callable[[], float] = time.monotonic) -> None:
        self.target = target
        self.dropped = 0
        self._starter = Starter(target, slots, clock)
        self._clock = clock
        self._offered: Offered | None = None
        self._listing = SingleFlight(self._list)
        self._listed_at = 0.0
        self._seats: dict[Owner, Seat] = {}
        self._under_way = InFlight()
        self._closed = False

    async def offered(self) -> Offered:
        """Return every usable definition, as a fresh process has them, or has had them while it says of no change.

        No process of an owner's is asked: what it offers may be its owner's business.
        """
        if self._is_outdated():
            self._offered = None
        if self._offered is None:
            self._offered = await self._listing()
        return self._offered

    def param_headers(self, tool: str) -> ParamHeaders:  # noqa: ARG002 (as over HTTP)
        """Return nothing: there are no headers on a pipe."""
        return ()

    async def call(self, call: Call) -> Answer:
        """Ask one thing once, in the process of the caller's owner, which is started first where it does not run."""
        with self._under_way, self._taken(call.caller) as seat:
            running = seat.running or await self._opened(seat)
            return await running.server.call(call)

    async def close(self, patience: float = 0.0) -> None:
        """Let what is under way finish for up to `patience` seconds, then end every process."""
        self._closed = True
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._under_way.idle()
        finally:
            await self._listing.close()
            for seat in list(self._seats.values()):
                await seat.opening.close()
                if seat.running is not None:
                    self._retire(seat, seat.running)
            await self._starter.close()

    async def _list(self) -> Offered:
        running = await self._starter.start(None)
        try:
            offered = await running.server.offered()
        finally:
            self._starter.stop(running)
        self._listed_at, self.dropped = self._clock(), running.server.dropped
        return offered

    def _is_outdated(self) -> bool:
        pipes = [seat.running.pipe for seat in self._seats.values() if seat.running is not None]
        changed = any(pipe.changed for pipe in pipes)
        for pipe in pipes:
            pipe.changed = False
        return changed or self._clock() - self._listed_at > LIST_AGAIN_SECONDS

    @contextmanager
    def _taken(self, caller: Principal) -> Iterator[Seat]:
        """Hold the place of a caller's owner: a process in it is not idle meanwhile."""
        seat = self._seats.get(Owner.of(caller)) or self._new(caller)
        seat.users += 1
        if seat.running is not None:
            seat.running.slot.idle_since = None
        try:
            yield seat
        finally:
            seat.users -= 1
            if not seat.users and seat.running is not None:
                self._rest(seat, seat.running)

    def _new(self, caller: Principal) -> Seat:
        now = self._clock()
        for other, seat in list(self._seats.items()):
            if seat.running is None and not seat.users and seat.not_before <= now:
                del self._seats[other]
        seat = self._seats[Owner.of(caller)] = Seat(caller, SingleFlight(lambda: self._open(seat)))
        return seat

    async def _opened(self, seat: Seat) -> Running:
        """Return the process of a place, started for all who wait for it; who stops waiting stops nothing."""
        if self._closed:
            raise UpstreamFailed(self.target.server, "is not configured any more")
        if self._clock() < seat.not_before:
            raise UpstreamFailed(self.target.server, "has ended a moment ago, and is started again in another")
        try:
            async with asyncio.timeout(self.target.timeout_seconds):
                return await seat.opening()
        except TimeoutError as error:
            why = f"was not ready within {self.target.timeout_seconds:g} s"
            raise UpstreamFailed(self.target.server, why) from error

    async def _open(self, seat: Seat) -> Running:
        try:
            running = await self._starter.start(seat.caller)
        except NotStarted:
            self._put_off(seat)
            raise
        seat.running = running
        running.slot.end = lambda: asyncio.shield(self._retire(seat, running))
        running.pipe.on_end = lambda: self._lost(seat, running)
        if not seat.users:
            self._rest(seat, running)
        return running

    def _rest(self, seat: Seat, running: Running) -> None:
        """End the process once it has been idle for as long as it may."""
        running.slot.idle_since = self._clock()
        if seat.timer is None:
            loop = asyncio.get_running_loop()
            seat.timer = loop.call_later(self.target.idle_seconds, self._look, seat)

    def _look(self, seat: Seat) -> None:
        seat.timer = None
        running = seat.running
        if running is None or running.slot.idle_since is None:
            return
        left = running.slot.idle_since + self.target.idle_seconds - self._clock()
        if left > 0:
            seat.timer = asyncio.get_running_loop().call_later(left, self._look, seat)
        else:
            self._retire(seat, running)

    def _retire(self, seat: Seat, running: Running) -> asyncio.Task[None]:
        """End a process; the next request of its owner gets another one."""
        if seat.running is running:
            seat.running = None
            if seat.timer is not None:
                seat.timer.cancel()
                seat.timer = None
        return self._starter.stop(running)

    def _lost(self, seat: Seat, running: Running) -> None:
        """Take note of a process that has ended by itself: what was under way has failed, and is not sent again."""
        if seat.running is not running:
            return
        LOG.warning("%s: process %d %s", running.who, running.pipe.process.pid, running.pipe.process.why)
        self._retire(seat, running)
        if seat.users and self._clock() - running.since < RAN_WELL_SECONDS:
            self._put_off(seat)
        else:
            seat.delay = 0.0

    def _put_off(self, seat: Seat) -> None:
        seat.delay = min(max(2 * seat.delay, FIRST_DELAY_SECONDS), LONGEST_DELAY_SECONDS)
        seat.not_before = self._clock() + seat.delay
