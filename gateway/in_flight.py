"""What is in flight, so that a drain knows when there is nothing left to wait for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class InFlight:
    """A count with a moment when it is zero; entered once for each thing under way."""

    def __init__(self) -> None:
        self.count = 0
        """How many things are under way."""
        self._idle: asyncio.Event | None = None  # made when somebody waits, so that a request costs two additions

    def __enter__(self) -> Self:
        self.count += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.count -= 1
        if self._idle is not None and not self.count:
            self._idle.set()

    async def idle(self) -> None:
        """Return when nothing is under way."""
        if self._idle is None:
            self._idle = asyncio.Event()
        while self.count:
            self._idle.clear()
            await self._idle.wait()
