"""Background tasks on an exit stack: they end with it, and one that ends by itself is a defect that is said loudly."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import AsyncExitStack

LOG = logging.getLogger("portcullis.background")


def run(stack: AsyncExitStack, work: Coroutine[Any, Any, None], name: str) -> None:
    """Run `work` until the stack unwinds."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    task.add_done_callback(report)

    async def end() -> None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    stack.push_async_callback(end)


def every(stack: AsyncExitStack, seconds: float, step: Callable[[], None], name: str) -> None:
    """Take a step every so often until the stack unwinds."""

    async def steps() -> None:
        while True:
            await asyncio.sleep(seconds)
            step()

    run(stack, steps(), name)


def report(task: asyncio.Task[None]) -> None:
    """Say loudly that a task ended that never should."""
    if not task.cancelled() and (error := task.exception()) is not None:
        LOG.critical("background task %r ended: %r", task.get_name(), error, exc_info=error)
