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
        self._until = 0.0
        self._said = self._left_out = 0
        self.last_words = ""

    def hear(self, data: bytes) -> None:
        """Take what came."""
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._line(self._rest + line[: MAX_LINE_BYTES - len(self._rest)])
            self._rest = b""
        # Of a line that is longer than shown, the end is dropped as it comes.
        self._rest += rest[: MAX_LINE_BYTES - len(self._rest)]

    def close(self) -> None:
        """Say what was left without an end, and how much was left out."""
        self._line(self._rest)
        self._rest = b""
        self._count_left_out()

    def _line(self, line: bytes) -> None:
        text = line.decode(errors="backslashreplace").rstrip()
        if not text:
            return
        self.last_words = text
        now = self._clock()
        if now >= self._until:
            self._count_left_out()
            self._until, self._said = now + WINDOW_SECONDS, 0
        if self._said >= LINES_A_WINDOW:
            self._left_out += 1
            return
        self._said += 1
        LOG.info("%s says: %s", self._who, text)

    def _count_left_out(self) -> None:
        if self._left_out:
            LOG.warning("%s said %d lines more, which are left out", self._who, self._left_out)
            self._left_out = 0
