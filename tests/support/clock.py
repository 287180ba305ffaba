"""A clock that moves when it is told to."""

from __future__ import annotations

import time


class Clock:
    """A callable that answers seconds; starts at the real time unless told otherwise."""

    def __init__(self, now: float | None = None) -> None:
        self.now = time.time() if now is None else now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.now += seconds
