"""Following the ledger: what another process wrote is in force here within a fraction of a second."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gateway.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.ledger import Ledger
    from gateway.model import Credential, LedgerMeta

LOG = logging.getLogger("portcullis.ledger")
INTERVAL_SECONDS = 0.2


class Follower:
    """Keeps the epoch and the credentials of this process those of the ledger; `changed` runs at each revision."""

    def __init__(
        self,
        ledger: Ledger,
        replace_credentials: Callable[[Sequence[Credential]], None],
        changed: Callable[[], Awaitable[None]],
    ) -> None:
        self._ledger = ledger
        self._replace_credentials = replace_credentials
        self._changed = changed
        self._meta: LedgerMeta | None = None
        self.reachable = False

    @property
    def epoch(self) -> str:
        """The ledger's epoch; empty, which no decision has, before it was read."""
        return self._meta.epoch if self._meta else ""

    async def refresh(self) -> None:
        """Read what changed since last time; raises Unavailable."""
        try:
            meta = await self._ledger.meta()
            if meta != self._meta:
                self._replace_credentials(await self._ledger.credentials())
                await self._changed()
                self._meta = meta
        except Unavailable:
            self.reachable = False
            raise
        self.reachable = True

    async def run(self) -> None:
        """Refresh until cancelled; while the ledger is away, what was read last stays in force."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            try:
                await self.refresh()
            except Unavailable as error:
                LOG.error("the ledger cannot be read: %s", error)
