"""Streams of server-sent events (WHATWG HTML 9.2.6), as much of them as MCP uses: taken apart, and written."""

from __future__ import annotations

import re

import msgspec

MEDIA_TYPE = "text/event-stream"
COMMENT = b":\n\n"
"""What says nothing, and keeps whoever stands between from hanging up."""

_LINE_END = re.compile(rb"\r\n|\n|\r")
# A whole event as servers write it: a name or an id if need be, one line of data. It means the same line by line.
_EVENT = re.compile(rb"((?:(?:event|id|retry|):[^\r\n]*+\r?\n)*+)data: ?+([^\r\n]++)\r?\n\r?\n")
_RETRY_DIGITS = 9
_LINE_ENDS_TO_SPACES = bytes.maketrans(b"\r\n", b"  ")


# A struct, because a stream may have thousands.
class Event(msgspec.Struct, frozen=True):
    """One event: `id` where it names itself, to be taken up again after it; `retry` in milliseconds.

    Without data it only says one of these two.
    """

    data: bytes
    id: bytes | None = None
    retry: int | None = None


def written(data: bytes, id_: str | None = None, retry: int | None = None) -> bytes:
    """Return one event around JSON text; line ends, which JSON has between its parts alone, become spaces."""
    if b"\n" in data or b"\r" in data:
        data = data.translate(_LINE_ENDS_TO_SPACES)
    if id_ is None and retry is None:
        return b"data: %b\n\n" % data
    fields = [] if retry is None else [b"retry: %d\n" % retry]
    if id_ is not None:
        fields.append(b"id: %b\n" % id_.encode())
    return b"%bdata: %b\n\n" % (b"".join(fields), data)


class TooLong(ValueError):
    """An event is larger than the cap."""


class Events:
    """Feed it chunks; it gives back each event that is complete and says something."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._data: list[bytes] = []
        self._id: bytes | None = None
        self._retry: int | None = None
        self._size = 0
        self._started = False
        self._after_return = False

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that this chunk completes; raises TooLong."""
        if self._after_return and chunk:
            # The other half of a line end that has been taken for a whole one.
            self._after_return = False
            chunk = chunk.removeprefix(b"\n")
        if self._pending or self._data or self._id is not None or self._retry is not None:
            return self._lines(chunk)
        # Most chunks are whole events, which costs a fifth of taking them apart line by line.
        found: list[Event] = []
        at = 0
        while event := _EVENT.match(chunk, at):
            fields, data = event.groups()
            if b"id:" in fields or b"retry:" in fields:
                # More than what it says: read as anything else.
                break
            self._require_room(len(data))
            found.append(Event(data))
            at = event.end()
        self._started = self._started or at > 0
        return found if at == len(chunk) else found + self._lines(chunk[at:])

    def _lines(self, chunk: bytes) -> list[Event]:
        self._pending.append(chunk)
        self._pending_size += len(chunk)
        if b"\n" not in chunk and b"\r" not in chunk:
            # Joining only where a line ends keeps a long line in small chunks from being copied each time.
            self._require_room(self._pending_size)
            return []
        self._after_return = chunk.endswith(b"\r")
        *lines, rest = _LINE_END.split(b"".join(self._pending))
        self._pending, self._pending_size = [rest] if rest else [], len(rest)
        self._require_room(self._pending_size)
        return [event for line in lines if (event := self._line(line)) is not None]

    def _require_room(self, size: int) -> None:
        if size > self._max_bytes:
            raise TooLong

    def _line(self, line: bytes) -> Event | None:
        if not self._started:
            self._started = True
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            return self._event()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._size += len(value)
            self._require_room(self._size)
        elif name == b"id" and b"\0" not in value:
            self._id = value
        elif name == b"retry" and value.isdigit() and len(value) <= _RETRY_DIGITS:
            self._retry = int(value)
        return None

    def _event(self) -> Event | None:
        data = b"\n".join(self._data) if any(self._data) else b""
        event = Event(data, self._id, self._retry)
        self._data, self._size, self._id, self._retry = [], 0, None, None
        return event if data or event.id is not None or event.retry is not None else None
