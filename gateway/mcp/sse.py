"""A stream of server-sent events taken apart (WHATWG HTML 9.2.6), as much of it as MCP uses."""

from __future__ import annotations

import re

_LINE_END = re.compile(rb"\r\n|\n|\r")
# A whole event as servers write it: a name or an id if need be, one line of data. It means the same line by line.
_EVENT = re.compile(rb"(?:(?:event|id|retry|):[^\r\n]*+\r?\n)*+data: ?+([^\r\n]++)\r?\n\r?\n")


class TooLong(ValueError):
    """An event is larger than the cap."""


class Events:
    """Feed it chunks; it gives back the data of each event that is complete."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._data: list[bytes] = []
        self._size = 0
        self._started = False
        self._after_return = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the data of the events that this chunk completes; raises TooLong."""
        if self._after_return and chunk:
            # The other half of a line end that has been taken for a whole one.
            self._after_return = False
            chunk = chunk.removeprefix(b"\n")
        if self._pending or self._data:
            return self._lines(chunk)
        # Most chunks are whole events, which costs a fifth of taking them apart line by line.
        found, at = [], 0
        while event := _EVENT.match(chunk, at):
            self._require_room(len(event[1]))
            found.append(event[1])
            at = event.end()
        self._started = self._started or at > 0
        return found if at == len(chunk) else found + self._lines(chunk[at:])

    def _lines(self, chunk: bytes) -> list[bytes]:
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
        return [data for line in lines if (data := self._line(line)) is not None]

    def _require_room(self, size: int) -> None:
        if size > self._max_bytes:
            raise TooLong

    def _line(self, line: bytes) -> bytes | None:
        if not self._started:
            self._started = True
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            data, self._data, self._size = self._data, [], 0
            return b"\n".join(data) if any(data) else None
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._size += len(value)
            self._require_room(self._size)
        return None
