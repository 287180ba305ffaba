"""The head of an answer: what it says of the answer and of the connection, and nothing that two readers could read
in two ways.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_HEAD_BYTES = 16_384
_START = b"HTTP/1."
_HEAD = re.compile(
    rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [^\x00-\x08\x0a-\x1f\x7f]*+)?+"
    rb"((?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]++:[^\x00-\x08\x0a-\x1f\x7f]*+)*+)"
)
# Neither may stand alone: what one reader takes for the end of a line is data to another.
_HALF_LINE_END = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")
_LENGTH = re.compile(rb"[0-9]{1,12}")


class Malformed(ValueError):
    """The bytes are no answer in HTTP/1.1; the text is a verb phrase (`has no clear length`)."""


@dataclass(frozen=True, slots=True)
class Head:
    """A head. `length` is that of the body, None where it is chunked or lasts as long as the connection.

    `fields` have lower-case names; lines of one name are joined with commas (RFC 9110 5.3), so that none is overlooked.
    """

    status: int
    keep_alive: bool
    length: int | None
    chunked: bool = False
    fields: Mapping[bytes, bytes] = field(default_factory=dict)

    @property
    def media_type(self) -> bytes:
        """The type of the content in lower case, without parameters; empty where none is named."""
        return self.fields.get(b"content-type", b"").partition(b";")[0].strip().lower()

    @property
    def encoded(self) -> bool:
        """Whether the content is compressed or otherwise coded."""
        return self.fields.get(b"content-encoding", b"identity").lower() != b"identity"


class HeadReader:
    """Collects a head from bytes in any split."""

    __slots__ = ("_start",)

    def __init__(self) -> None:
        self._start = b""

    def feed(self, data: bytes) -> tuple[Head, bytes] | None:
        """Return the head and what came after it, None while it is not whole; raises Malformed as early as it can."""
        if self._start:
            data = self._start + data
        end = data.find(b"\r\n\r\n")
        # Three bytes more may be the beginning of the end.
        if (end if end >= 0 else len(data) - 3) > MAX_HEAD_BYTES:
            raise Malformed("has a head that is too large")
        if end < 0:
            if data[: len(_START)] != _START[: len(data)] or _HALF_LINE_END.search(data):
                raise Malformed("has a malformed head")
            self._start = data
            return None
        self._start = b""
        return read_head(data[:end]), data[end + 4 :]


# Within a second, the heads of a server differ in little but the length: many are read once.
@lru_cache(maxsize=256)
def read_head(head: bytes) -> Head:
    """Read a head without its final blank line; raises Malformed."""
    match = _HEAD.fullmatch(head)
    if match is None:
        raise Malformed("has a malformed head")
    status, fields = int(match[2]), _fields(match[3])
    length, coding = fields.get(b"content-length"), fields.get(b"transfer-encoding")
    _require_clear_framing(status, match[1], length, coding)
    chunked = coding is not None
    if status in (204, 304):
        length = b"0"
    delimited = chunked or length is not None
    keep_alive = delimited and match[1] == b"1" and b"close" not in fields.get(b"connection", b"").lower()
    return Head(status, keep_alive, None if length is None else int(length), chunked, fields)


def _fields(lines: bytes) -> dict[bytes, bytes]:
    fields: dict[bytes, bytes] = {}
    for line in lines.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" \t")
        fields[name] = fields[name] + b", " + value if name in fields else value
    return fields


def _require_clear_framing(status: int, minor: bytes, length: bytes | None, coding: bytes | None) -> None:
    """Refuse every head of which RFC 9112 section 6.3 says that it may be an attack or an error."""
    if coding is not None and (length is not None or minor == b"0"):
        raise Malformed("has no clear length")
    if coding is not None and coding.lower() != b"chunked":
        raise Malformed("has an unknown transfer coding")
    if length is not None and not _LENGTH.fullmatch(length):
        raise Malformed("has a Content-Length that is no number")
    if status == 101:
        raise Malformed("changes the protocol, unasked")
    if (status < 200 or status == 204) and (coding is not None or (length is not None and int(length))):
        raise Malformed("has a body where none may be")
