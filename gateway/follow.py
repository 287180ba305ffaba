"""Following the ledger: what another process wrote is in force here within a fraction of a second."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Protocol

from gateway.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from gateway.facts import LedgerMeta
    from gateway.ledger import Ledger
    from gateway.model import Credential
    from gateway.pdp.high_water import HighWaterMark, Mark

LOG = logging.getLogger("portcullis.ledger")
# The ledger says when it changed. This is for when it could not, and so that its absence is noticed.
POLL_SECONDS = 2.0
RETRY_SECONDS = 0.5


class Index(Protocol):
    """Where this process keeps the credentials that requests are held to."""

    def replace(self, credentials: Iterable[Credential]) -> None:
        """Know these credentials and no others."""

    def put(self, credentials: Iterable[Credential]) -> None:
        """Know these as they are now, beside all others."""

    def confirm(self) -> None:
        """Hear that what is known is what the ledger knows at this moment."""


class Follower:
    """Keeps the epoch and the credentials of this process those of the ledger. `clock` counts seconds monotonically.

    A ledger that is an older copy of itself gets a new epoch here, by whichever process notices first. `changed` runs
    at each revision after the first that is read.
    """

    def __init__(
        self,
        ledger: Ledger,
        index: Index,
        mark: HighWaterMark,
        changed: Callable[[], Awaitable[None]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._index = index
        self._mark = mark
        self._changed = changed
        self._clock = clock
        self._meta: LedgerMeta | None = None
        self._past: set[str] = set()
        self._confirmed_at = clock()
        self._refreshing = asyncio.Lock()
        self.reachable = False

    @property
    def epoch(self) -> str:
        """The ledger's epoch; empty, which no decision has, before it was read."""
        return self._meta.epoch if self._meta else ""

    @property
    def revision(self) -> int:
        """The newest revision of the ledger that is known of, 0 before it was read."""
        return self._meta.revision if self._meta else 0

    @property
    def unconfirmed_seconds(self) -> float:
        """How long ago the ledger last confirmed what is in force here: a few seconds, and more while it is away."""
        return self._clock() - self._confirmed_at

    async def refresh(self) -> None:
        """Put in force what the ledger says now; raises Unavailable.

        Whoever changes a credential calls this before it answers, so that the change counts here at once.
        """
        async with self._refreshing:  # of two answers that cross, the older one would look like a restored ledger
            asked_at = self._clock()
            try:
                await self._take_up(await self._newest())
            except Unavailable:
                self.reachable = False
                raise
            self._index.confirm()
            self._confirmed_at = asked_at
            self.reachable = True

    async def run(self) -> None:
        """Refresh until cancelled; while the ledger is away, what was read last stays in force."""
        while True:
            well = self.reachable
            try:
                await self._ledger.changed(POLL_SECONDS if well else RETRY_SECONDS)
                await self.refresh()
            except Unavailable as error:
                if well:
                    LOG.error("the ledger cannot be read, what it said last stays in force: %s", error)
                self.reachable = False
                await asyncio.sleep(RETRY_SECONDS)
            else:
                if not well:
                    LOG.info("the ledger can be read again")

    async def _newest(self) -> LedgerMeta:
        """Return where the ledger stands, in a new epoch where it was restored from an older copy."""
        since = self._mark.value
        meta = await self._ledger.meta()
        if not self._restored(meta, since):
            return meta
        LOG.warning("the ledger is older than what was known here: it was restored, so it gets a new epoch")
        return await self._ledger.renew_epoch(meta.epoch)

    def _restored(self, meta: LedgerMeta, since: Mark | None) -> bool:
        known = self._meta
        behind = known is not None and meta.epoch == known.epoch and meta.revision < known.revision
        return behind or meta.epoch in self._past or self._mark.restored(meta, since=since)

    async def _take_up(self, meta: LedgerMeta) -> None:
        known = self._meta
        if meta == known:
            return
        if known is None or known.epoch != meta.epoch:
            # Not on the event loop, where a hundred thousand would keep every request waiting.
            await asyncio.to_thread(self._index.replace, await self._ledger.credentials())
        elif changed := await self._ledger.credentials(since=known.revision):
            self._index.put(changed)
        if known is not None:
            await self._changed()
            if known.epoch != meta.epoch:
                self._past.add(known.epoch)
        self._meta = meta
