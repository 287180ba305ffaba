"""Things that happen again and again to each of many: one timer for all, and nothing to do while nothing is due."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Beating(Protocol):
    """What has a pulse."""

    def beat(self) -> None:
        """Do what is to be done each time; it must neither wait nor fail."""


class Pulse:
    """Beats for each member every `seconds` after it joined, so whoever joined first is always due first."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due: dict[Beating, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._due)

    def join(self, member: Beating) -> None:
        """Beat for it from now on."""
        loop = asyncio.get_running_loop()
        self._due[member] = due = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_at(due, self._pass, loop)

    def leave(self, member: Beating) -> None:
        """Beat for it no more; the timer stays, for those that join meanwhile."""
        self._due.pop(member, None)

    def close(self) -> None:
        """Beat for nobody any more."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pass(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer, now = None, loop.time()
        while self._due:
            member, due = next(iter(self._due.items()))
            if due > now:
                self._timer = loop.call_at(due, self._pass, loop)
                return
            del self._due[member]
            self._due[member] = now + self._seconds
            member.beat()
