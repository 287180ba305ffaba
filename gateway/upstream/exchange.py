"""One request and its answer, as the bytes of the answer come in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from gateway.http1.body import UntilClosed, body_of
from gateway.http1.head import HeadReader, Malformed

if TYPE_CHECKING:
    from gateway.http1.body import Body
    from gateway.http1.head import Head

MAX_INTERIM_ANSWERS = 8


class Closed(ConnectionError):
    """The connection ended before the answer did."""


class Line(Protocol):
    """What an exchange goes over."""

    def resume(self, exchange: Exchange) -> None:
        """Read on, now that there is room."""

    def leave(self, exchange: Exchange) -> None:
        """Be free again, at once or when the rest of the answer has come."""

    def give_up(self, exchange: Exchange) -> None:
        """Close, if this exchange is the one under way."""


class Exchange:
    """One request under way: first the answer's head, then its body piece by piece, as fast as it is read.

    Whoever holds it ends it once, by `leave` where the answer was good, else by `close`.
    """

    __slots__ = ("_body", "_error", "_head", "_heads", "_interim", "_line", "_pieces", "_unread", "_waiter")

    def __init__(self, line: Line) -> None:
        self._line = line
        self._heads = HeadReader()
        self._interim = 0
        self._head: Head | None = None
        self._body: Body | None = None
        self._pieces: list[bytes] = []
        self._unread = 0
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def whole(self) -> bool:
        """Whether the end of the answer has come, be it read or not."""
        return self._body is not None and self._body.done

    @property
    def reusable(self) -> bool:
        """Whether another request may follow: the answer is whole, nothing came after it, and it said so."""
        body, head = self._body, self._head
        return body is not None and body.done and not body.excess and head is not None and head.keep_alive

    async def head(self) -> Head:
        """Return the answer's head; raises Closed or Malformed."""
        while self._head is None:
            await self._news()
        return self._head

    async def read(self) -> bytes:
        """Return the next bytes of the body, none at its end; raises Closed or Malformed, once all before is read."""
        while not self._pieces:
            if self.whole:
                return b""
            await self._news()
        pieces, self._pieces, self._unread = self._pieces, [], 0
        self._line.resume(self)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def leave(self) -> None:
        """Let go of an answer that is good; its connection is used again, or closed if the end does not come soon."""
        self._line.leave(self)

    def close(self) -> None:
        """Give the answer up and close its connection, which is how a server learns that nobody waits any more."""
        self._line.give_up(self)

    async def _news(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def feed(self, data: bytes) -> int:
        """Take what the server sent and return how much lies unread; raises Malformed."""
        if self._body is None:
            found = self._feed_head(data)
            if found is None:
                return 0
            self._head, data = found
            self._body = body_of(self._head)
        self._body.feed(data, self._pieces)
        self._unread += len(data)
        self._wake()
        return self._unread

    def _feed_head(self, data: bytes) -> tuple[Head, bytes] | None:
        while found := self._heads.feed(data):
            head, data = found
            if head.status >= 200:
                return found
            # RFC 9110 15.2: a client reads past interim answers, even those that it did not ask for.
            self._interim += 1
            if self._interim > MAX_INTERIM_ANSWERS:
                raise Malformed("has interim answers without an end")
        return None

    def drop_unread(self) -> None:
        """Forget what nobody is going to read."""
        self._pieces.clear()

    def fail(self, error: Exception) -> None:
        """Say what went wrong to whoever reads on after all that came before; a whole answer stays whole."""
        if not self.whole and self._error is None:
            self._error = error
            self._wake()

    def end(self) -> None:
        """Take the end of the connection for that of the answer, where it is (RFC 9112 section 6.3, rule 8)."""
        if isinstance(self._body, UntilClosed):
            self._body.done = True
            self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
