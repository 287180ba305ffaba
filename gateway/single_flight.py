"""One run at a time of something that many wait for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Runs `work` unless it is running, and gives its outcome to everybody who came meanwhile."""

    def __init__(self, work: Callable[[], Coroutine[None, None, T]]) -> None:
        self._work = work
        self._task: asyncio.Task[T] | None = None

    async def __call__(self) -> T:
        """Return the outcome of the run under way, or of a new one; who stops waiting does not stop it."""
        if self._task is None:
            self._task = asyncio.create_task(self._work())
            self._task.add_done_callback(self._finished)
        return await asyncio.shield(self._task)

    def _finished(self, task: asyncio.Task[T]) -> None:
        self._task = None
        if not task.cancelled():
            # Everybody may have stopped waiting; asyncio would then complain that nobody looked.
            task.exception()

    async def close(self) -> None:
        """Stop the run under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
