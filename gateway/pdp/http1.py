"""One HTTP/1.1 answer as data, no I/O: what RFC 9112 says of framing, and nothing that OPA does not use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from gateway.errors import DecisionUnavailable

MAX_HEAD_BYTES = 16_384
_MAX_LINE_BYTES = 1_024
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([2-5][0-9]{2})(?: [^\x00-\x08\x0a-\x1f]*)?")
_FIELD_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LENGTH = re.compile(rb"[0-9]{1,12}")
# RFC 9112 7.1.1: a recipient ignores chunk extensions that it does not know.
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t]*;[^\x00-\x08\x0a-\x1f]*)?")


class Malformed(DecisionUnavailable):
    """The bytes are no HTTP answer that this client understands."""


@dataclass(frozen=True, slots=True)
class Head:
    """What an answer's head says of the answer; `length` is None for a chunked body."""

    status: int
    keep_alive: bool
    length: int | None


class Answer:
    """Collects one answer from bytes in any split; `head` and `body` hold once `feed` returned True.

    Raises Malformed for bad framing, for more than `limit` bytes of body, and for bytes after the end.
    """

    __slots__ = ("_chunks", "_left", "_limit", "_parts", "_start", "body", "head")

    def __init__(self, limit: int) -> None:
        self.head: Head | None = None
        self.body = b""
        self._limit = limit
        self._start = b""
        self._left = 0
        self._parts: list[bytes] = []
        self._chunks: _Chunks | None = None

    @property
    def status(self) -> int:
        """The HTTP status, or 0 before it came."""
        return self.head.status if self.head is not None else 0

    def feed(self, data: bytes) -> bool:
        """Take the next bytes and return whether the answer is complete."""
        if self.head is None:
            rest = self._feed_head(data)
            if rest is None:
                return False
            data = rest
        if self._chunks is not None:
            return self._feed_chunks(self._chunks, data)
        self._left -= len(data)
        if self._left < 0:
            raise Malformed("OPA sent more than its Content-Length")
        self._parts.append(data)
        if self._left:
            return False
        self.body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        return True

    def _feed_head(self, data: bytes) -> bytes | None:
        if self._start:
            data = self._start + data
        end = data.find(b"\r\n\r\n")
        if (end if end >= 0 else len(data)) > MAX_HEAD_BYTES:
            raise Malformed("OPA's answer has a head that is too large")
        if end < 0:
            self._start = data
            return None
        self.head = head = read_head(data[:end])
        if head.length is None:
            self._chunks = _Chunks(self._limit)
        elif head.length > self._limit:
            raise Malformed("OPA's answer is too large")
        else:
            self._left = head.length
        return data[end + 4 :]

    def _feed_chunks(self, chunks: _Chunks, data: bytes) -> bool:
        if not chunks.feed(data):
            return False
        self.body = b"".join(chunks.parts)
        return True


# Within a second, OPA's heads differ in nothing but the length: parsing each once spares a third of the client's work.
@lru_cache(maxsize=256)
def read_head(head: bytes) -> Head:
    """Read a head without its final blank line; RFC 9112 6.3, without the cases in which a cut looks like an end."""
    status_line, *lines = head.split(b"\r\n")
    match = _STATUS_LINE.fullmatch(status_line)
    if match is None:
        raise Malformed("OPA's answer has no HTTP status line")
    fields = _fields(lines)
    length, coding = fields.get(b"content-length"), fields.get(b"transfer-encoding")
    if (length is None) == (coding is None):
        raise Malformed("OPA's answer has no clear length")
    if coding is not None and coding.lower() != b"chunked":
        raise Malformed("OPA's answer has an unknown transfer coding")
    if length is not None and not _LENGTH.fullmatch(length):
        raise Malformed("OPA's answer has a Content-Length that is no number")
    if fields.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Malformed("OPA's answer has a content coding that was not offered")
    keep_alive = match[1] == b"1" and b"close" not in fields.get(b"connection", b"").lower()
    return Head(int(match[2]), keep_alive, None if length is None else int(length))


def _fields(lines: list[bytes]) -> dict[bytes, bytes]:
    fields: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        key = name.lower()
        if not colon or not _FIELD_NAME.fullmatch(name) or b"\n" in value or b"\r" in value:
            raise Malformed("OPA's answer has a malformed header")
        if key in fields and key in (b"content-length", b"transfer-encoding"):
            raise Malformed("OPA's answer has its length twice")
        fields[key] = value.strip(b" \t")
    return fields


class _Chunks:
    """The chunked transfer coding, RFC 9112 section 7.1. `parts` are the chunks' data."""

    __slots__ = ("_buffer", "_ending", "_limit", "_wanted", "parts")

    def __init__(self, limit: int) -> None:
        self.parts: list[bytes] = []
        self._buffer = bytearray()
        self._limit = limit
        self._wanted = 0
        self._ending = False

    def feed(self, data: bytes) -> bool:
        """Take the next bytes and return whether the last chunk and its trailer have been read."""
        self._buffer += data
        while True:
            if self._wanted:
                if not self._take_chunk():
                    return False
                continue
            line = self._take_line()
            if line is None:
                return False
            if self._ending and not line:
                if self._buffer:
                    raise Malformed("OPA sent more than its last chunk")
                return True
            self._read_line(line)

    def _take_chunk(self) -> bool:
        buffer, wanted = self._buffer, self._wanted
        if len(buffer) < wanted:
            return False
        if buffer[wanted - 2 : wanted] != b"\r\n":
            raise Malformed("OPA sent a chunk longer than its size")
        self.parts.append(bytes(buffer[: wanted - 2]))
        del buffer[:wanted]
        self._wanted = 0
        return True

    def _take_line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n")
        if (end if end >= 0 else len(self._buffer)) > _MAX_LINE_BYTES:
            raise Malformed("OPA sent a chunk size that is too long")
        if end < 0:
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _read_line(self, line: bytes) -> None:
        if self._ending:
            raise Malformed("OPA sent a trailer")
        match = _CHUNK_SIZE.fullmatch(line)
        if match is None:
            raise Malformed("OPA sent a malformed chunk size")
        size = int(match[1], 16)
        self._limit -= size
        if self._limit < 0:
            raise Malformed("OPA's answer is too large")
        self._ending = size == 0
        self._wanted = size + 2 if size else 0
