"""When each key and token was last used: noted in memory, written behind, and never in a request's way."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gateway.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.authn.credentials import CredentialIndex

LOG = logging.getLogger("portcullis.authn")
WRITTEN_EVERY_SECONDS = 30.0


class LastUse:
    """Writes what the index noted with `touch`, which takes milliseconds by credential id."""

    def __init__(self, index: CredentialIndex, touch: Callable[[Mapping[str, int]], Awaitable[object]]) -> None:
        self._index = index
        self._touch = touch

    async def write(self) -> None:
        """Write what was used since the last time, in one call; what the ledger does not take is kept for the next."""
        used = self._index.take_used()
        if not used:
            return
        try:
            await self._touch(used)
        except Unavailable as error:
            self._index.give_back(used)
            LOG.warning("the last use of %d credentials could not be written yet: %s", len(used), error)

    async def run(self, seconds: float = WRITTEN_EVERY_SECONDS) -> None:
        """Write every so often until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            await self.write()
