"""A stream of server-sent events taken apart (WHATWG HTML 9.2.6), as much of it as MCP uses."""

from __future__ import annotations

import re

# A line may end in any of three ways, and a CR at the end of a chunk may be half of a CRLF.
_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")


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

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the data of the events that this chunk completes; raises TooLong."""
        ends_a_line = b"\n" in chunk or b"\r" in chunk or (self._pending and self._pending[-1].endswith(b"\r"))
        self._pending.append(chunk)
        self._pending_size += len(chunk)
        if not ends_a_line:
            # Joining only where a line ends keeps a long line in small chunks from being copied each time.
            self._require_room(self._pending_size)
            return []
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
