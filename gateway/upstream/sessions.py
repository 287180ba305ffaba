"""Sessions of an older server, one a principal: what a server keeps for one caller no other may find there (A12)."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import UpstreamFailed
from gateway.single_flight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable, Iterator

    from gateway.upstream.era import Legacy

MAX_SESSIONS = 1000
IDLE_SECONDS = 300.0


@dataclass(slots=True)
class _Seat:
    opening: SingleFlight[Legacy]
    session: Legacy | None = None
    users: int = 0
    last_used: float = 0.0

    async def taken(self) -> Legacy:
        """Return the session, opened first where there is none."""
        return self.session or await self.opening()


class Sessions:
    """Opens a session where a principal has none, and closes the idle ones: the longest idle first when full."""

    def __init__(
        self,
        server: str,
        open_: Callable[[], Coroutine[None, None, Legacy]],
        leave: Callable[[Legacy], None],
        clock: Callable[[], float],
        max_sessions: int = MAX_SESSIONS,
    ) -> None:
        self._server = server
        self._open = open_
        self._leave = leave
        self._clock = clock
        self._max_sessions = max_sessions
        self._seats: OrderedDict[Hashable, _Seat] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seats)

    @contextmanager
    def seat(self, principal: Hashable) -> Iterator[Callable[[], Coroutine[None, None, Legacy]]]:
        """Hold the principal's place while it is used; what is given back returns its session, opening one first."""
        seat = self._seats.get(principal) or self._new(principal)
        self._seats.move_to_end(principal)
        seat.users += 1
        try:
            yield seat.taken
        finally:
            seat.users -= 1
            seat.last_used = self._clock()
            if seat.session is None and not seat.users:
                self._seats.pop(principal, None)

    def lost(self, principal: Hashable, session: Legacy) -> None:
        """Forget a session that the server does not know any more, unless it has been replaced already."""
        seat = self._seats.get(principal)
        if seat is not None and seat.session is session:
            seat.session = None

    def close_idle(self, seconds: float = IDLE_SECONDS) -> None:
        """End the sessions that nobody has used for so long."""
        latest = self._clock() - seconds
        for principal in [key for key, seat in self._seats.items() if not seat.users and seat.last_used <= latest]:
            self._end(principal)

    async def close(self) -> None:
        """End all."""
        for principal in list(self._seats):
            await self._seats[principal].opening.close()
            self._end(principal)

    async def _fill(self, seat: _Seat) -> Legacy:
        # Before the run ends: who comes between that and the moment when its first waiter goes on opens no other.
        seat.session = await self._open()
        return seat.session

    def _new(self, principal: Hashable) -> _Seat:
        if len(self._seats) >= self._max_sessions:
            idle = next((key for key, seat in self._seats.items() if not seat.users), None)
            if idle is None:
                raise UpstreamFailed(self._server, "has too many sessions under way")
            self._end(idle)
        seat = self._seats[principal] = _Seat(SingleFlight(lambda: self._fill(seat)))
        return seat

    def _end(self, principal: Hashable) -> None:
        seat = self._seats.pop(principal)
        if seat.session is not None:
            self._leave(seat.session)
