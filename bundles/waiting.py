"""Waking everybody who waits for something to change; of one event loop."""

from __future__ import annotations

import asyncio


class Signal:
    """Look at the state and, with no await in between, wait: then no change between the two is missed."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def fire(self) -> None:
        """Wake everyone who waits now."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, deadline: float) -> bool:
        """Wait for the next `fire`; False when the loop's clock reaches `deadline` first."""
        event = self._event
        try:
            async with asyncio.timeout_at(deadline):
                await event.wait()
        except TimeoutError:
            return False
        return True
