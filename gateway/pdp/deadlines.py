"""Until when questions may wait: one timer for all, because all have the same patience and the first is due first.

A timer for each would cost a quarter of what asking costs.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.errors import DecisionUnavailable


class Deadline:
    """The time at which one question is given up, whatever it waits for then; `at` is in the loop's time."""

    __slots__ = ("_error", "_future", "at", "over")

    def __init__(self, at: float) -> None:
        self.at = at
        self.over = False
        self._future: asyncio.Future[Any] | None = None
        self._error: Callable[[], DecisionUnavailable] | None = None

    def covers(self, future: asyncio.Future[Any], error: Callable[[], DecisionUnavailable]) -> None:
        """Have the future fail with this error when the time is over; of several, the last counts."""
        self._future, self._error = future, error
        if self.over:
            self.pass_()

    def pass_(self) -> None:
        """The time is over."""
        self.over = True
        if self._future is not None and self._error is not None and not self._future.done():
            self._future.set_exception(self._error())


class Deadlines:
    """Deadlines of `seconds` each, in the order in which they began."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._pending: dict[Deadline, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> Deadline:
        """Return the deadline of a question that begins now."""
        loop = asyncio.get_running_loop()
        deadline = Deadline(loop.time() + self._seconds)
        self._pending[deadline] = None
        if self._timer is None:
            self._timer = loop.call_at(deadline.at, self._pass, loop)
        return deadline

    def end(self, deadline: Deadline) -> None:
        """Forget the deadline of a question that is over; the timer stays, for those that are asked meanwhile."""
        self._pending.pop(deadline, None)

    def close(self) -> None:
        """Stop the timer; what is pending has no deadline any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pass(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        while self._pending:
            first = next(iter(self._pending))
            if first.at > now:
                self._timer = loop.call_at(first.at, self._pass, loop)
                return
            del self._pending[first]
            first.pass_()
