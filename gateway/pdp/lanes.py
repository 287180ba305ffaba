"""A fixed number of slots, handed out in turn to the lanes that wait for one."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

from gateway.errors import DecisionUnavailable

if TYPE_CHECKING:
    from gateway.pdp.deadlines import Deadline


class NoTurn(DecisionUnavailable):
    """No slot came free in time."""

    def __init__(self) -> None:
        super().__init__("no connection to OPA came free within the deadline")


class Lanes:
    """Slots with one queue a lane: a slot that comes free goes to the lane that has waited longest for its turn.

    However many of one lane wait, another lane's first in the queue is served after at most one of each.
    """

    def __init__(self, slots: int, waiting: int) -> None:
        """Take the number of slots, and how many of one lane may wait before the next is refused."""
        self._free = slots
        self._limit = waiting
        self._queues: OrderedDict[str, OrderedDict[asyncio.Future[None], None]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return sum(map(len, self._queues.values()))

    def try_enter(self) -> bool:
        """Take a slot if one is free, which it only is when nobody waits."""
        if not self._free:
            return False
        self._free -= 1
        return True

    async def enter(self, lane: str, deadline: Deadline | None = None) -> None:
        """Take a slot, waiting for this lane's turn.

        Raises DecisionUnavailable when too many of the lane wait, or when the turn does not come before the deadline.
        """
        if self.try_enter():
            return
        queue = self._queues.setdefault(lane, OrderedDict())
        if len(queue) >= self._limit:
            raise DecisionUnavailable("too many questions of this tenant are waiting")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue[turn] = None
        if deadline is not None:
            deadline.covers(turn, NoTurn)
        try:
            await turn
        except (asyncio.CancelledError, NoTurn):
            self._forget(lane, turn)
            raise

    def _forget(self, lane: str, turn: asyncio.Future[None]) -> None:
        if turn.done() and not turn.cancelled() and turn.exception() is None:
            self.leave()  # the turn came in the same moment as the cancellation
            return
        queue = self._queues.get(lane)
        if queue is not None:
            queue.pop(turn, None)
            if not queue:
                del self._queues[lane]

    def leave(self) -> None:
        """Give the slot back, to the next lane in turn if one waits."""
        while self._queues:
            lane, queue = self._queues.popitem(last=False)
            turn, _ = queue.popitem(last=False)
            if queue:
                self._queues[lane] = queue
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
