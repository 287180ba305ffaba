"""Waiting for a condition instead of for time to pass."""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


async def until(condition: Callable[[], T | Awaitable[T]], timeout: float = 10, what: str = "") -> T:
    """Return the first truthy value of `condition`; raises AssertionError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"never came true within {timeout} s: {what or condition}")
        await asyncio.sleep(0.01)
