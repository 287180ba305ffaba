"""One keep-alive connection to OPA: one question at a time, each with its deadline."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from gateway.errors import DecisionUnavailable
from gateway.pdp.http1 import Answer, Malformed

if TYPE_CHECKING:
    from gateway.pdp.deadlines import Deadline


class Closed(DecisionUnavailable):
    """The connection closed under a question; `untouched` if not one byte of the answer had come."""

    def __init__(self, untouched: bool) -> None:
        self.untouched = untouched
        super().__init__("OPA closed the connection" + ("" if untouched else " in the middle of its answer"))


class Late(DecisionUnavailable):
    """No whole answer came before the deadline."""

    def __init__(self) -> None:
        super().__init__("OPA did not answer within the deadline")


class Connection(asyncio.Protocol):
    """`idle` is True while the connection is open and no question is under way on it; only then may it be asked.

    Whatever ends a question other than its whole answer closes the connection, so no answer can meet the wrong one.
    """

    __slots__ = ("_answer", "_limit", "_loop", "_touched", "_transport", "_turn", "idle")

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int) -> None:
        self.idle = False
        self._loop = loop
        self._limit = limit
        self._touched = False
        self._transport: asyncio.Transport | None = None
        self._answer: Answer | None = None
        self._turn: asyncio.Future[Answer] | None = None

    async def ask(self, request: bytes, deadline: Deadline) -> Answer:
        """Send a whole request and return its whole answer.

        Raises Closed, Late or Malformed. A cancelled question closes the connection.
        """
        transport = self._transport
        if transport is None or not self.idle:
            raise Closed(untouched=True)
        self.idle, self._touched = False, False
        self._answer = Answer(self._limit)
        turn: asyncio.Future[Answer] = self._loop.create_future()
        self._turn = turn
        deadline.covers(turn, Late)
        try:
            transport.write(request)
            return await turn
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Drop the connection at once, with whatever is under way on it."""
        self.idle = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note that questions may be asked from now on."""
        self._transport = cast("asyncio.Transport", transport)
        self.idle = True

    def data_received(self, data: bytes) -> None:
        """Feed the answer under way; bytes that nobody asked for close the connection."""
        turn, answer = self._turn, self._answer
        if turn is None or answer is None or turn.done():
            self.close()
            return
        self._touched = True
        try:
            complete = answer.feed(data)
        except Malformed as error:
            turn.set_exception(error)
            self.close()
            return
        if complete:
            self._turn = self._answer = None
            self.idle = answer.head is not None and answer.head.keep_alive
            turn.set_result(answer)
            if not self.idle:
                self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Fail the question under way."""
        self.idle = False
        self._transport = None
        turn = self._turn
        if turn is not None and not turn.done():
            turn.set_exception(Closed(untouched=not self._touched))
