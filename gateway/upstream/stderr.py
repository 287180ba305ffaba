"""What processes say on stderr, in our log: line by line, and no more of it than an operator can read."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LOG = logging.getLogger("portcullis.stdio")

MAX_LINE_BYTES = 2048
# A traceback is let through whole, a flood is not.
WINDOW_SECONDS = 10.0
LINES_A_WINDOW = 200


class Voice:
    """One process's. `who` leads each line; formatters escape what would break one, or turn a terminal's text."""

    def __init__(self, who: str, clock: Callable[[], float]) -> None:
        self._who = who
        self._clock = clock
        self._rest = b""
        self._last = b""
        self._until = 0.0
        self._room = self._left_out = 0

    @property
    def last_words(self) -> str:
        """The last line that is not blank."""
        return _text(self._last)

    def hear(self, data: bytes) -> None:
        """Take what came."""
        self._open_window()
        *lines, rest = data.split(b"\n", self._room)
        for line in lines:
            self._line(line)
        self._room -= len(lines)
        if b"\n" in rest:
            rest = self._passed_over(rest)
        # Of a line that is longer than shown, the end is dropped as it comes.
        self._rest += rest[: MAX_LINE_BYTES - len(self._rest)]

    def close(self) -> None:
        """Say what was left without an end, and how much was left out."""
        if self._rest:
            self.hear(b"\n")
        self._count_left_out()

    def _open_window(self) -> None:
        now = self._clock()
        if now >= self._until:
            self._count_left_out()
            self._until, self._room = now + WINDOW_SECONDS, LINES_A_WINDOW

    def _line(self, end: bytes) -> None:
        line = self._rest + end[: MAX_LINE_BYTES - len(self._rest)]
        self._rest = b""
        if text := _text(line):
            self._last = line
            LOG.info("%s says: %s", self._who, text)

    def _passed_over(self, data: bytes) -> bytes:
        """Count lines without a look at each, keep the last of them, and return what follows it."""
        whole, _, rest = data.rpartition(b"\n")
        self._left_out += whole.count(b"\n") + 1
        last = (self._rest + whole).rstrip().rpartition(b"\n")[2]
        self._last, self._rest = last[:MAX_LINE_BYTES] or self._last, b""
        return rest

    def _count_left_out(self) -> None:
        if self._left_out:
            LOG.warning("%s said %d lines more, which are left out", self._who, self._left_out)
            self._left_out = 0


def _text(line: bytes) -> str:
    return line.decode(errors="backslashreplace").rstrip()
