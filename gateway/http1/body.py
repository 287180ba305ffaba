"""The three ways in which a body ends (RFC 9112 section 6.3), taken off piece by piece."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Protocol

from gateway.http1.head import Malformed

if TYPE_CHECKING:
    from gateway.http1.head import Head

MAX_LINE_BYTES = 1_024
MAX_TRAILER_BYTES = 8_192
# RFC 9112 7.1.1: a recipient ignores chunk extensions that it does not know.
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t]*;[^\x00-\x08\x0a-\x1f\x7f]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00-\x08\x0a-\x1f\x7f]*")


class Body(Protocol):
    """`done` once the body is whole; `excess` where bytes came after its end, which nothing good has sent."""

    done: bool
    excess: bool

    def feed(self, data: bytes, into: list[bytes]) -> None:
        """Add what of these bytes belongs to the body to `into`; raises Malformed, what came before it added."""


def body_of(head: Head, limit: int = sys.maxsize) -> Body:
    """Return the reader of the body that follows a head; a chunked one of more than `limit` bytes is Malformed."""
    if head.chunked:
        return Chunked(limit)
    return UntilClosed() if head.length is None else Counted(head.length)


class Counted:
    """A body whose length was said before."""

    __slots__ = ("_left", "done", "excess")

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = not length
        self.excess = False

    def feed(self, data: bytes, into: list[bytes]) -> None:
        """Take the next bytes."""
        left = self._left - len(data)
        if left < 0:
            self.excess = True
            data = data[: self._left]
        self._left = max(left, 0)
        self.done = left <= 0
        if data:
            into.append(data)


class UntilClosed:
    """A body that ends with its connection, so that one cut short looks like a whole one."""

    __slots__ = ("done", "excess")

    def __init__(self) -> None:
        self.done = False
        self.excess = False

    def feed(self, data: bytes, into: list[bytes]) -> None:
        """Take the next bytes."""
        if data:
            into.append(data)


class Chunked:
    """The chunked transfer coding (RFC 9112 section 7.1). Trailers are read, bounded, and left at that."""

    __slots__ = ("_left", "_limit", "_start", "_state", "done", "excess", "trailer_bytes")

    def __init__(self, limit: int = sys.maxsize) -> None:
        self.done = False
        self.excess = False
        self.trailer_bytes = 0
        self._limit = limit
        self._left = 0
        self._start = b""
        self._state = _SIZE

    def feed(self, data: bytes, into: list[bytes]) -> None:
        """Take the next bytes."""
        if self._start:
            data, self._start = self._start + data, b""
        at, end = 0, len(data)
        while at < end:
            if self.done:
                self.excess = True
                return
            if self._state is _DATA:
                piece = data[at : at + self._left]
                into.append(piece)
                at += len(piece)
                self._left -= len(piece)
                self._state = _DATA if self._left else _DATA_END
                continue
            line_end = data.find(b"\r\n", at, at + MAX_LINE_BYTES)
            if line_end < 0:
                self._keep(data[at:])
                return
            self._read_line(data[at:line_end])
            at = line_end + 2

    def _keep(self, start: bytes) -> None:
        if len(start) >= MAX_LINE_BYTES or b"\n" in start or b"\r" in start[:-1]:
            raise Malformed("has a malformed chunk")
        if self._state is _DATA_END and start != b"\r":
            raise Malformed("has a chunk longer than its size")
        self._start = start

    def _read_line(self, line: bytes) -> None:
        if self._state is _SIZE:
            self._read_size(line)
        elif self._state is _DATA_END:
            if line:
                raise Malformed("has a chunk longer than its size")
            self._state = _SIZE
        elif line:
            self.trailer_bytes += len(line)
            if self.trailer_bytes > MAX_TRAILER_BYTES or not _TRAILER.fullmatch(line):
                raise Malformed("has a malformed trailer")
        else:
            self.done = True

    def _read_size(self, line: bytes) -> None:
        match = _CHUNK_SIZE.fullmatch(line)
        if match is None:
            raise Malformed("has a malformed chunk")
        self._left = size = int(match[1], 16)
        self._limit -= size
        if self._limit < 0:
            raise Malformed("is too large")
        self._state = _DATA if size else _TRAILERS


# Where in a chunk the next byte stands.
_SIZE, _DATA, _DATA_END, _TRAILERS = range(4)
