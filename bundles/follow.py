"""Following the ledger and the files: a new revision is published within milliseconds, and every ten seconds anew."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from bundles.access import Access
from bundles.acknowledgements import Acknowledgements
from bundles.problems import Problems
from bundles.publication import RETRY_SECONDS, Publication
from bundles.waiting import Signal
from gateway.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bundles.publisher import Publisher
    from bundles.record import Record
    from bundles.sources import Sources
    from gateway.ledger import Ledger

COALESCE_SECONDS = 0.015
HEARTBEAT_SECONDS = 10.0


class Follower:
    """Reads the ledger, has published what changed. `now` is the time in seconds since the epoch.

    What the ledger cannot confirm is not vouched for: while it cannot be read, the old bundles are served on and
    there is no heartbeat, so that policy sees their age.
    """

    def __init__(
        self,
        open_ledger: Callable[[], Awaitable[Ledger]],
        sources: Sources,
        publisher: Publisher,
        record: Record,
        now: Callable[[], float],
        heartbeat: float = HEARTBEAT_SECONDS,
    ) -> None:
        self._access = Access(open_ledger, self.hint)
        self._sources = sources
        self._publisher = publisher
        self._problems = Problems()
        self._acknowledgements = Acknowledgements(self._access, publisher, self._problems, now)
        self._publication = Publication(
            self._access,
            sources,
            publisher,
            record,
            self._problems,
            heartbeat,
            now,
            lambda: not self._acknowledgements.withheld,
        )
        self._hinted = asyncio.Event()
        self._looked = Signal()
        self._begun = self._ended = 0

    def hint(self) -> None:
        """Have the ledger looked at now instead of at the next tick."""
        self._hinted.set()

    def renew(self) -> None:
        """Have every bundle made again, because another key is to sign it."""
        self._publication.renew()
        self.hint()

    async def look(self, patience: float) -> None:
        """Have the ledger looked at, and wait until that is done, `patience` seconds at most."""
        wanted = self._begun + 1
        deadline = asyncio.get_running_loop().time() + patience
        self.hint()
        while self._ended < wanted:
            if not await self._looked.wait(deadline):
                return

    def health(self) -> dict[str, Any]:
        """Return `status` (starting, ok, degraded), the revision served, and what is wrong."""
        problems = self._problems.listed() + self._sources.problems()
        loaded = self._sources.loaded
        status = "starting" if not self._publisher.ready else "degraded" if problems else "ok"
        return {
            "status": status,
            "revision": self._publisher.revision,
            "epoch": self._publisher.epoch,
            "config": loaded.hash if loaded else None,
            "withheld": sorted(self._publisher.withheld),
            "problems": problems,
        }

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._publication.tenants.run())
            tasks.create_task(self._acknowledgements.run())
            tasks.create_task(self._follow())

    async def close(self) -> None:
        """Let go of the ledger."""
        await self._access.close()

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._hinted.clear()
            self._begun += 1
            published, pause = False, self._publication.due
            try:
                published = await self._look()
            except Unavailable as error:
                self._problems.note("ledger", f"cannot be read: {error}")
                await self.close()
                pause = RETRY_SECONDS
            self._ended = self._begun
            self._looked.fire()
            if published:
                # Whatever is committed within this time goes into one publication.
                await asyncio.sleep(COALESCE_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(loop.time() + pause):
                    await self._hinted.wait()

    async def _look(self) -> bool:
        """Publish what is new; say whether anything was."""
        ledger = await self._access.open()
        meta, known = await ledger.meta(), self._publication.standing
        if known and meta.epoch == known.epoch and meta.revision < known.revision:
            # Not published: OPA would take two histories for one. A gateway that notices draws a new epoch.
            raise Unavailable("it is older than it was, so it was restored, and no gateway has noticed that yet")
        self._problems.note("ledger", None)
        self._sources.follow(meta.config_hash)
        if news := not self._publication.says(meta):
            await self._publication.take(ledger, meta)
        else:
            self._publication.vouch()
        await self._acknowledgements.hear(ledger)
        return news
