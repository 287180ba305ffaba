"""Small things that nobody waits for: saying goodbye, saying no."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine

MAX_UNDER_WAY = 256
MAX_SECONDS = 5.0


class Errands:
    """Runs coroutines that raise nothing worth knowing; each is cut off after `MAX_SECONDS`."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, errand: Coroutine[Any, Any, object]) -> bool:
        """Start one; False where too many are under way: they are courtesies, and a flood of them is a load."""
        if len(self._tasks) >= MAX_UNDER_WAY:
            errand.close()
            return False
        task = asyncio.create_task(_bounded(errand))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def close(self) -> None:
        """Wait for those under way, none longer than its bound."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _bounded(errand: Coroutine[Any, Any, object]) -> None:
    try:
        async with asyncio.timeout(MAX_SECONDS):
            await errand
    except TimeoutError:
        pass
