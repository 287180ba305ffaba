"""How late the event loop is: what holds it up, holds everybody up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

INTERVAL_SECONDS = 0.5


async def measure(lagged: Callable[[float], None]) -> None:
    """Sleep again and again, and tell by how many seconds each waking was late, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + INTERVAL_SECONDS
        await asyncio.sleep(INTERVAL_SECONDS)
        lagged(max(0.0, loop.time() - due))
