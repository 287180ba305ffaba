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
    from bundles.sources import Sources
    from gateway.ledger import Ledger

LOG = logging.getLogger("portcullis.sync")
POLL_SECONDS = 0.025
COALESCE_SECONDS = 0.015
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
        now: Callable[[], float],
        heartbeat: float = HEARTBEAT_SECONDS,
    ) -> None:
        self._open = open_ledger
        self._sources = sources
        self._publisher = publisher
        self._now = now
        self._heartbeat = heartbeat
        self._ledger: Ledger | None = None
        self._facts: Facts | None = None
        self._published: dict[str, object] = {}
        self._reread_for: str | None = None
        self._vouched = 0.0
        self._problems: dict[str, str] = {}
        self._hinted = asyncio.Event()
        self._looked = Signal()
        self._begun = self._ended = 0
        self.tenants = TenantsBuilder(publisher, self._problem)

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
        problems = [f"{what}: {why}" for what, why in sorted(self._problems.items())]
        problems += [str(mistake) for mistake in self._sources.mistakes]
        if self._facts and self._facts.meta.config_hash not in (None, self._sources.loaded.hash):
            problems.append("config: the files here are not the configuration that the ledger records")
        status = "starting" if not self._publisher.ready else "degraded" if problems else "ok"
        return {
            "status": status,
            "revision": self._publisher.revision,
            "epoch": self._publisher.epoch,
            "config": self._sources.loaded.hash,
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
        if ledger is not None:
            await ledger.close()

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._hinted.clear()
            self._begun += 1
            published, pause = False, POLL_SECONDS
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
        meta = await self._ledger.meta()
        self._problem("ledger", None)
        await self._agree(meta.config_hash)
        seen = self._facts.meta if self._facts else None
        if seen and (meta.epoch, meta.revision) == (seen.epoch, seen.revision) and self._current():
            self._beat()
            return False
        self._publish(await read(self._ledger))
        return True

    async def _agree(self, recorded: str | None) -> None:
        """Read the files again, once, where the ledger records another configuration than the one in force here."""
        if recorded not in (None, self._sources.loaded.hash, self._reread_for):
            self._reread_for = recorded
            await self._sources.reread(recorded)

    def _current(self) -> bool:
        return self._published.get("files") == self._sources.generation

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
        self._offer("policy", "constant", policy_content, meta.revision)
        self._offer("custom", self._sources.generation, lambda: self._sources.custom, meta.revision)
        self._offer_tenants(facts)
        self._published["files"] = self._sources.generation
        self._publisher.recount()

    def _settings(self) -> None:
        opa = self._sources.loaded.config.opa
        self._publisher.replicas.leaves_after = float(opa.max_staleness_seconds) if opa.on_stale == "deny" else None

    def _offer(self, name: str, key: object, make: Callable[[], Content], revision: int) -> None:
        if self._published.get(name) == key:
            self._publisher.settle(name, revision)
        else:
            self._publisher.publish(name, make(), revision, self._publisher.claim(name, revision))
            self._published[name] = key

    def _offer_tenants(self, facts: Facts) -> None:
        loaded = self._sources.loaded
        key = (loaded.hash, facts.inventory_digest)
        if self._published.get("tenants") == key:
            self._publisher.settle("tenants", facts.meta.revision)
        else:
            claim = self._publisher.claim("tenants", facts.meta.revision)
            self.tenants.want(Job(loaded, facts, claim))
            self._published["tenants"] = key

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
