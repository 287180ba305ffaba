"""One answer of OPA's, collected whole: HTTP/1.1 as the gateway reads it (`gateway.http1`), without what OPA never
sends and without the cases in which a cut looks like an end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import DecisionUnavailable
from gateway.http1 import head as http1
from gateway.http1.body import Chunked, body_of

if TYPE_CHECKING:
    from gateway.http1.body import Body
    from gateway.http1.head import Head


class Malformed(DecisionUnavailable):
    """The bytes are no HTTP answer that this client understands."""

    def __init__(self, why: str) -> None:
        super().__init__(f"OPA's answer {why}")


class Answer:
    """Collects one answer from bytes in any split; `head` and `body` hold once `feed` returned True.

    Raises Malformed for bad framing, for more than `limit` bytes of body, and for bytes after the end.
    """

    __slots__ = ("_body", "_heads", "_limit", "_parts", "body", "head")

    def __init__(self, limit: int) -> None:
        self.head: Head | None = None
        self.body = b""
        self._limit = limit
        self._heads = http1.HeadReader()
        self._parts: list[bytes] = []
        self._body: Body | None = None

    @property
    def status(self) -> int:
        """The HTTP status, or 0 before it came."""
        return self.head.status if self.head is not None else 0

    def feed(self, data: bytes) -> bool:
        """Take the next bytes and return whether the answer is complete."""
        body = self._body
        try:
            if body is None:
                found = self._heads.feed(data)
                if found is None:
                    return False
                self.head, data = found
                self._require_usable(self.head)
                if len(data) == self.head.length:
                    self.body = data  # all of it has come with the head, as it nearly always does
                    return True
                self._body = body = body_of(self.head, self._limit)
            body.feed(data, self._parts)
        except http1.Malformed as error:
            raise Malformed(str(error)) from None
        if not body.done:
            return False
        if body.excess:
            raise Malformed("is longer than it says")
        if isinstance(body, Chunked) and body.trailer_bytes:
            raise Malformed("has a trailer")
        self.body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        return True

    def _require_usable(self, head: Head) -> None:
        if head.status < 200:
            raise Malformed("is an interim one")
        if head.length is None and not head.chunked:
            raise Malformed("has no clear length")
        if head.encoded:
            raise Malformed("has a content coding that was not offered")
        if (head.length or 0) > self._limit:
            raise Malformed("is too large")
