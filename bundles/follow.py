"""Following the ledger and the files: a new revision is published within milliseconds, and every ten seconds anew."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

from bundles.bundle import Content
from bundles.snapshot import Facts, live_document, read
from bundles.sources import policy_content
from bundles.tenants import Job, TenantsBuilder
from bundles.waiting import Signal
from gateway.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bundles.publisher import Publisher
    from bundles.record import Record, Recorded
    from bundles.sources import Sources
    from gateway.ledger import Ledger

LOG = logging.getLogger("portcullis.sync")
# The ledger says when it changed; this is for when it could not.
POLL_SECONDS = 2.0
COALESCE_SECONDS = 0.015
SOON_SECONDS = 0.025
HEARTBEAT_SECONDS = 10.0
RETRY_SECONDS = 0.5


class Follower:
    """Reads the ledger, publishes what changed. `now` is the time in seconds since the epoch.

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
        self._open = open_ledger
        self._sources = sources
        self._publisher = publisher
        self._record = record
        self._now = now
        self._heartbeat = heartbeat
        self._ledger: Ledger | None = None
        self._listening: asyncio.Task[None] | None = None
        self._facts: Facts | None = None
        self._published: dict[str, object] = {}
        self._policy = policy_content()
        self._unrecorded_until = 0.0
        self._vouched = 0.0
        self._problems: dict[str, str] = {}
        self._hinted = asyncio.Event()
        self._looked = Signal()
        self._begun = self._ended = 0
        self.tenants = TenantsBuilder(publisher, self._record_tenants, self._problem)

    def hint(self) -> None:
        """Have the ledger looked at now instead of at the next tick."""
        self._hinted.set()

    def renew(self) -> None:
        """Have every bundle made again, because another key is to sign it."""
        self._published.clear()
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
        problems = [f"{what}: {why}" for what, why in sorted(self._problems.items())] + self._sources.problems()
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
            tasks.create_task(self.tenants.run())
            tasks.create_task(self._follow())

    async def close(self) -> None:
        """Let go of the ledger."""
        ledger, self._ledger = self._ledger, None
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
            await asyncio.wait({listening})
        if ledger is not None:
            await ledger.close()

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._hinted.clear()
            self._begun += 1
            published, pause = False, self._until_due()
            try:
                published = await self._look()
            except Unavailable as error:
                self._problem("ledger", f"cannot be read: {error}")
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
        if self._ledger is None:
            self._ledger = await self._open()
            self._listening = asyncio.create_task(self._listen(self._ledger), name="listen to the ledger")
        meta = await self._ledger.meta()
        if self._facts and meta.epoch == self._facts.meta.epoch and meta.revision < self._facts.meta.revision:
            # Not published: OPA would take two histories for one. A gateway that notices draws a new epoch.
            raise Unavailable("it is older than it was, so it was restored, and no gateway has noticed that yet")
        self._problem("ledger", None)
        self._sources.follow(meta.config_hash)
        seen = self._facts.meta if self._facts else None
        if seen and (meta.epoch, meta.revision) == (seen.epoch, seen.revision) and self._current():
            self._beat()
            return False
        if meta.epoch != self._publisher.epoch:
            self._record.forget()
        await self._record_policy(self._ledger)
        self._publish(await read(self._ledger, self._facts))
        return True

    async def _listen(self, ledger: Ledger) -> None:
        """Have the ledger looked at whenever it says that it may have changed, for as long as it is open."""
        with contextlib.suppress(Unavailable):
            while True:
                if await ledger.changed(POLL_SECONDS):
                    self._hinted.set()
        self._hinted.set()

    def _until_due(self) -> float:
        """Return when to look again at the latest, in seconds: for the heartbeat, or because hints can be lost."""
        age = self._now() - self._vouched if self._facts else 0.0
        soonest = RETRY_SECONDS if self._unrecorded_until else POLL_SECONDS
        return min(soonest, max(SOON_SECONDS, self._heartbeat - age))

    def _current(self) -> bool:
        """Say whether what the files say is published; what could not be recorded is tried again after a while."""
        due = 0 < self._unrecorded_until <= asyncio.get_running_loop().time()
        return self._published.get("files") == self._sources.generation and not due

    async def _record_policy(self, ledger: Ledger) -> None:
        """Give what is new of policy its revision; a ledger that cannot be written keeps the rest from nothing."""
        self._unrecorded_until = 0.0
        for name, content in (("policy", self._policy), ("custom", self._sources.custom)):
            if content is None:
                continue
            try:
                await self._record.put(ledger, name, content)
            except Unavailable as error:
                self._problem(name, f"cannot be recorded, so it is not published: {error}")
                self._unrecorded_until = asyncio.get_running_loop().time() + RETRY_SECONDS
            else:
                self._problem(name, None)

    async def _record_tenants(self, content: Content) -> Recorded:
        if self._ledger is None:
            raise Unavailable("the ledger is away")
        return await self._record.put(self._ledger, "tenants", content)

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
        self._publisher.replicas.replace(facts.replicas)
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
        self._vouched = self._now()
        return Content.document("portcullis_live", live_document(self._facts, int(self._vouched)))

    def _beat(self) -> None:
        """Vouch anew for what was just confirmed; a clock set back makes it overdue too."""
        if self._facts and not 0 <= self._now() - self._vouched < self._heartbeat:
            self._publisher.renew("live", self._live(), self._facts.meta.revision)

    def _problem(self, what: str, why: str | None) -> None:
        if why is None:
            if self._problems.pop(what, None):
                LOG.info("%s: well again", what)
        elif self._problems.get(what) != why:
            self._problems[what] = why
            LOG.error("%s: %s", what, why)
