"""Building the bundle `tenants` beside everything else: it may take seconds, and no withdrawal waits for it."""

from __future__ import annotations

import asyncio
import logging
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bundles.bundle import Content
from bundles.expand import Expander, Expansion
from gateway.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bundles.publisher import Publisher
    from bundles.record import Recorded
    from bundles.shelf import Claim
    from bundles.snapshot import Facts
    from gateway.config import Loaded

LOG = logging.getLogger("portcullis.sync")
RETRY_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Job:
    """What to expand, and the claim that the result settles."""

    loaded: Loaded
    facts: Facts
    claim: Claim


class TenantsBuilder:
    """Expands in a thread, one at a time; of jobs that pile up meanwhile only the newest is done.

    `record` gives what was made the revision that it is published under; it raises Unavailable.
    """

    def __init__(
        self,
        publisher: Publisher,
        record: Callable[[Content], Awaitable[Recorded]],
        problem: Callable[[str, str | None], None],
    ) -> None:
        self.expansion: Expansion | None = None
        self._publisher = publisher
        self._record = record
        self._problem = problem
        self._expander = Expander()
        self._wanted: Job | None = None
        self._asked = asyncio.Event()

    def want(self, job: Job) -> None:
        """Have this built next."""
        self._wanted = job
        self._asked.set()

    async def run(self) -> None:
        """Build whatever is wanted, for ever."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            job, self._wanted = self._wanted, None
            if job is None:
                continue
            try:
                await self._do(job)
            except Unavailable as error:
                self._problem("tenants", f"cannot be recorded: {error}")
                self.want(self._wanted or job)
                await asyncio.sleep(RETRY_SECONDS)
            except Exception as error:  # noqa: BLE001 (a supervised loop: the other three bundles must go on)
                # The claim stays open, so nobody is told that the change is applied.
                LOG.error("the tenants' bundle cannot be built; the last one stays\n%s", traceback.format_exc())
                self._problem("tenants", f"cannot be built: {error!r}")
                self._publisher.withhold("tenants")
            else:
                self._problem("tenants", None)

    async def _do(self, job: Job) -> None:
        expansion, content = await asyncio.to_thread(self._expand, job)
        if self._publisher.epoch != job.facts.meta.epoch:
            return  # The ledger was replaced meanwhile, and its own job is waiting.
        recorded = await self._record(content)
        made = await asyncio.to_thread(self._sign, recorded)
        if self._publisher.epoch == job.facts.meta.epoch:
            self._report(expansion)
            self._publisher.put("tenants", *made, recorded.revision, job.claim)

    def _expand(self, job: Job) -> tuple[Expansion, Content]:
        expansion = self._expander.expand(job.loaded.config, job.loaded.hash, job.facts.inventory)
        return expansion, Content.document("portcullis_data", expansion.data)

    def _sign(self, recorded: Recorded) -> tuple[str, bytes]:
        """Return the digest by which the archive is known, and the archive; none where it is served already."""
        digest = self._publisher.digest(recorded.digest)
        same = self._publisher.serves("tenants", digest)
        return digest, b"" if same else self._publisher.sign("tenants", recorded.content, recorded.revision)

    def _report(self, expansion: Expansion) -> None:
        before = self.expansion.collisions if self.expansion else ()
        for collision in expansion.collisions:
            if collision not in before:
                LOG.warning("%s is offered by none of %s: their flat names collide", collision.name, collision.ids)
        self.expansion = expansion
