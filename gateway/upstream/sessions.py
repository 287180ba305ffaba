"""Sessions of an older server: one for each principal, and for each session that its agent is in (A12).

What a server keeps for one caller no other may find there.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import UpstreamFailed
from gateway.mcp.levels import reaches
from gateway.single_flight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable, Iterator

    from gateway.upstream.era import Legacy

MAX_SESSIONS = 1000
IDLE_SECONDS = 300.0


@dataclass(slots=True)
class Seat:
    """One place for a session; `level` is the log level that was set in it last."""

    opening: SingleFlight[Legacy]
    current: Legacy | None = None
    level: str | None = None
    users: int = 0
    last_used: float = 0.0

    async def session(self) -> Legacy:
        """Return the session, opened first where there is none."""
        return self.current or await self.opening()

    def takes(self, level: str, *, shared: bool) -> bool:
        """Note the level to set, and say whether it is another one.

        A session that several requests share keeps the one at which it says the most.
        """
        if self.level == level or (shared and self.level is not None and reaches(level, self.level)):
            return False
        self.level = level
        return True


class Sessions:
    """Opens a session where somebody has none, and closes the idle ones: the longest idle first when full."""

    def __init__(
        self,
        server: str,
        leave: Callable[[Legacy], None],
        clock: Callable[[], float],
        max_sessions: int = MAX_SESSIONS,
    ) -> None:
        self._server = server
        self._leave = leave
        self._clock = clock
        self._max_sessions = max_sessions
        self._seats: OrderedDict[Hashable, Seat] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seats)

    @contextmanager
    def seat(self, whose: Hashable, open_: Callable[[], Coroutine[None, None, Legacy]]) -> Iterator[Seat]:
        """Hold somebody's place while it is used; `open_` opens a session in it."""
        seat = self._seats.get(whose) or self._new(whose, open_)
        self._seats.move_to_end(whose)
        seat.users += 1
        try:
            yield seat
        finally:
            seat.users -= 1
            seat.last_used = self._clock()
            if not seat.users:
                self._vacate(whose, seat)

    def current(self, whose: Hashable) -> Legacy | None:
        """Return somebody's session, None where there is none."""
        seat = self._seats.get(whose)
        return seat.current if seat else None

    def lost(self, whose: Hashable, session: Legacy) -> None:
        """Forget a session that the server does not know any more, unless it has been replaced already."""
        seat = self._seats.get(whose)
        if seat is not None and seat.current is session:
            seat.current = None

    def end(self, whose: Hashable) -> None:
        """End somebody's session, if there is one; what is under way in it goes on."""
        seat = self._seats.pop(whose, None)
        if seat is not None:
            self._leave_seat(seat)

    def close_idle(self, seconds: float = IDLE_SECONDS) -> None:
        """End the sessions that nobody has used for so long."""
        latest = self._clock() - seconds
        for whose in [key for key, seat in self._seats.items() if not seat.users and seat.last_used <= latest]:
            self.end(whose)

    async def close(self) -> None:
        """End all."""
        for whose in list(self._seats):
            await self._seats[whose].opening.close()
            self.end(whose)

    def _vacate(self, whose: Hashable, seat: Seat) -> None:
        if self._seats.get(whose) is not seat:
            # It was ended meanwhile, and a session may have been opened in it since.
            self._leave_seat(seat)
        elif seat.current is None:
            del self._seats[whose]

    def _leave_seat(self, seat: Seat) -> None:
        session, seat.current = seat.current, None
        if session is not None:
            self._leave(session)

    def _new(self, whose: Hashable, open_: Callable[[], Coroutine[None, None, Legacy]]) -> Seat:
        if len(self._seats) >= self._max_sessions:
            idle = next((key for key, seat in self._seats.items() if not seat.users), None)
            if idle is None:
                raise UpstreamFailed(self._server, "has too many sessions under way")
            self.end(idle)
        seat = self._seats[whose] = Seat(SingleFlight(lambda: _fill(seat, open_)))
        return seat


async def _fill(seat: Seat, open_: Callable[[], Coroutine[None, None, Legacy]]) -> Legacy:
    # Before the run ends: who comes between that and the moment when its first waiter goes on opens no other.
    seat.level, seat.current = None, await open_()
    return seat.current
