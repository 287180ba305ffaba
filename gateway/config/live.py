"""The live cell: the one place where a reload replaces a value. A request reads it once."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class Live(Generic[T]):
    """A value that a reload replaces whole; of one event loop."""

    def __init__(self, value: T) -> None:
        self._value = value
        self._next: asyncio.Event = asyncio.Event()

    @property
    def value(self) -> T:
        """The value in force."""
        return self._value

    def set(self, value: T) -> None:
        """Put `value` in force and wake whoever waits for a change."""
        self._value = value
        waiting, self._next = self._next, asyncio.Event()
        waiting.set()

    async def changed(self, since: T | None = None) -> T:
        """Wait for the next `set` and return the value then in force; at once if `since` is no longer in force.

        A follower that passes the value which it last saw misses no change, and sees the newest of several.
        """
        if since is None or since is self._value:
            await self._next.wait()
        return self._value
