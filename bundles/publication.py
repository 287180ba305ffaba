"""What is published of what was read: each bundle anew when what it is made of has changed, and `live` to vouch."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from bundles.access import POLL_SECONDS, Access
from bundles.bundle import Content
from bundles.snapshot import Facts, live_document, read
from bundles.sources import policy_content
from bundles.tenants import Job, TenantsBuilder
from gateway.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from bundles.problems import Problems
    from bundles.publisher import Publisher
    from bundles.record import Record, Recorded
    from bundles.sources import Sources
    from gateway.facts import LedgerMeta
    from gateway.ledger import Ledger

LOG = logging.getLogger("portcullis.sync")
SOON_SECONDS = 0.025
RETRY_SECONDS = 0.5


class Publication:
    """Makes bundles of the ledger and the files. `now` is the time in seconds since the epoch.

    While `may_vouch` denies it, `live` goes on to say when it was vouched for last.
    """

    def __init__(
        self,
        access: Access,
        sources: Sources,
        publisher: Publisher,
        record: Record,
        problems: Problems,
        heartbeat: float,
        now: Callable[[], float],
        may_vouch: Callable[[], bool],
    ) -> None:
        self._access = access
        self._sources = sources
        self._publisher = publisher
        self._record = record
        self._problems = problems
        self._heartbeat = heartbeat
        self._now = now
        self._may_vouch = may_vouch
        self._facts: Facts | None = None
        self._published: dict[str, object] = {}
        self._policy = policy_content()
        self._unrecorded_until = 0.0
        self._vouched = 0.0
        self.tenants = TenantsBuilder(publisher, self._record_tenants, problems.note)

    @property
    def standing(self) -> LedgerMeta | None:
        """Where the ledger stood that was read last."""
        return self._facts.meta if self._facts else None

    @property
    def age(self) -> float:
        """How long ago what is published was vouched for, in seconds; below zero after the clock was set back."""
        return self._now() - self._vouched if self._facts else 0.0

    @property
    def due(self) -> float:
        """In how many seconds there is something to do though nothing changes: to vouch anew, or to record."""
        soonest = RETRY_SECONDS if self._unrecorded_until else POLL_SECONDS
        return min(soonest, max(SOON_SECONDS, self._heartbeat - self.age)) if self._may_vouch() else soonest

    def renew(self) -> None:
        """Have every bundle made again, because another key is to sign it."""
        self._published.clear()

    def says(self, meta: LedgerMeta) -> bool:
        """Say whether what is published is what the ledger says now and what the files say now."""
        seen = self.standing
        due = 0 < self._unrecorded_until <= asyncio.get_running_loop().time()
        same = seen is not None and (meta.epoch, meta.revision) == (seen.epoch, seen.revision)
        return same and self._published.get("files") == self._sources.generation and not due

    async def take(self, ledger: Ledger, meta: LedgerMeta) -> None:
        """Publish what the ledger and the files say now; raises Unavailable."""
        if meta.epoch != self._publisher.epoch:
            self._record.forget()
        await self._record_policy(ledger)
        self._publish(await read(ledger, self._facts))

    def vouch(self) -> None:
        """Serve `live` again, as what was just confirmed, if that is due; a clock set back makes it overdue too."""
        if self._facts and self._may_vouch() and not 0 <= self.age < self._heartbeat:
            self._publisher.renew("live", self._live(), self._facts.meta.revision)

    async def _record_policy(self, ledger: Ledger) -> None:
        """Give what is new of policy its revision; a ledger that cannot be written keeps the rest from nothing."""
        self._unrecorded_until = 0.0
        for name, content in (("policy", self._policy), ("custom", self._sources.custom)):
            if content is None:
                continue
            try:
                await self._record.put(ledger, name, content)
            except Unavailable as error:
                self._problems.note(name, f"cannot be recorded, so it is not published: {error}")
                self._unrecorded_until = asyncio.get_running_loop().time() + RETRY_SECONDS
            else:
                self._problems.note(name, None)

    async def _record_tenants(self, content: Content) -> Recorded:
        return await self._record.put(self._access.ledger, "tenants", content)

    def _publish(self, facts: Facts) -> None:
        """Publish what the facts and the files change; no await in between, so no progress is seen half made."""
        meta = facts.meta
        if self._publisher.epoch != meta.epoch:
            if self._publisher.epoch is not None:
                LOG.warning("the ledger has a new epoch: everything is published anew")
            self._published.clear()
            self._publisher.begin(meta.epoch)
        self._facts = facts
        self._settings()
        self._publisher.know(facts.replicas)
        self._offer("live", meta.revision, self._live, meta.revision)
        for name, refused in (("policy", False), ("custom", self._sources.refused)):
            self._offer_recorded(name, facts, refused=refused or name in self._problems)
        self._offer_tenants(facts)
        self._published["files"] = self._sources.generation
        self._publisher.recount()

    def _settings(self) -> None:
        opa = self._sources.configurations.known.config.opa
        self._publisher.replicas.leaves_after = float(opa.max_staleness_seconds) if opa.on_stale == "deny" else None

    def _offer(self, name: str, key: object, make: Callable[[], Content], own: int) -> None:
        """Publish a content under its own revision, unless what has the key is published already."""
        revision = self._facts.meta.revision if self._facts else 0
        if self._published.get(name) == key:
            self._publisher.settle(name, revision)
        else:
            self._publisher.publish(name, make(), own, self._publisher.claim(name, revision))
            self._published[name] = key

    def _offer_recorded(self, name: str, facts: Facts, *, refused: bool) -> None:
        recorded = self._record.of(name)
        if recorded is not None:
            self._offer(name, (recorded.digest, recorded.revision), lambda: recorded.content, recorded.revision)
            return
        if name not in self._published:
            # Whether a replica has what was recorded before this sync was started is not known until it is served.
            self._publisher.claim(name, facts.recorded(name))
            self._published[name] = None
        self._publisher.settle(name, facts.meta.revision)
        if refused:
            self._publisher.withhold(name)

    def _offer_tenants(self, facts: Facts) -> None:
        loaded, recorded = self._sources.loaded, facts.meta.config_hash
        here = loaded if loaded and recorded in (None, loaded.hash) else None
        # What the ledger records and is not here changes the bundle in a way that cannot be built: nobody applies it.
        key = (here.hash, facts.inventory_digest) if here else recorded
        if self._published.get("tenants") == key:
            self._publisher.settle("tenants", facts.meta.revision)
            return
        claim = self._publisher.claim("tenants", facts.meta.revision)
        self._published["tenants"] = key
        if here:
            self.tenants.want(Job(here, facts, claim))
        else:
            self._publisher.withhold("tenants")

    def _live(self) -> Content:
        if self._facts is None:
            raise RuntimeError("nothing was read")
        if self._may_vouch():
            self._vouched = self._now()
        return Content.document("portcullis_live", live_document(self._facts, int(self._vouched)))
