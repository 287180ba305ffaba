"""Request bodies as they arrive: each in time, none much larger than it may be, and all of them within one budget."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.budget import Budget
from gateway.errors import Crowded

if TYPE_CHECKING:
    from aiohttp import StreamReader

SECONDS = 15.0
# Of what is being read at once: as many of the largest bodies, and never less than so many bytes.
BODIES = 16
LEAST_BYTES = 64 * 1024 * 1024


class Bodies:
    """Reads bodies that did not come together with their head; `seconds` is how long one may take."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self.budget = Budget()
        """What is being read at the moment, by address."""

    async def read(self, content: StreamReader, limit: int, peer: str) -> bytes:
        """Return a body, not much more of it than `limit` bytes.

        Raises Crowded where there is no room for it beside what others are sending, HTTPRequestTimeout for a slow one.
        """
        chunks = bytearray()
        try:
            with self.budget.share(peer, max(LEAST_BYTES, BODIES * limit)) as share:
                async with asyncio.timeout(self._seconds):
                    async for chunk in content.iter_any():
                        if not share.take(len(chunk)):
                            raise Crowded("Too much is being sent at once; nothing was done")
                        chunks += chunk
                        if len(chunks) > limit:
                            break
        except TimeoutError:
            raise web.HTTPRequestTimeout from None
        return bytes(chunks)
