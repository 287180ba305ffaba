"""Building the bundle `tenants` beside everything else: it may take seconds, and no withdrawal waits for it."""

from __future__ import annotations

import asyncio
import logging
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bundles.bundle import Content
from bundles.expand import Expander, Expansion

if TYPE_CHECKING:
    from collections.abc import Callable

    from bundles.publisher import Publisher
    from bundles.shelf import Claim
    from bundles.snapshot import Facts
    from gateway.config import Loaded

LOG = logging.getLogger("portcullis.sync")


@dataclass(frozen=True, slots=True)
class Job:
    """What to expand, and the claim that the result settles."""

    loaded: Loaded
    facts: Facts
    claim: Claim


@dataclass(frozen=True, slots=True)
class _Built:
    expansion: Expansion
    digest: str
    body: bytes


class TenantsBuilder:
    """Expands in a thread, one at a time; of jobs that pile up meanwhile only the newest is done."""

    def __init__(self, publisher: Publisher, problem: Callable[[str, str | None], None]) -> None:
        self.expansion: Expansion | None = None
        self._publisher = publisher
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
                built = await asyncio.to_thread(self._build, job)
            except Exception as error:  # noqa: BLE001 (a supervised loop: the other three bundles must go on)
                # The claim stays open, so nobody is told that the change is applied.
                LOG.error("the tenants' bundle cannot be built; the last one stays\n%s", traceback.format_exc())
                self._problem("tenants", f"cannot be built: {error!r}")
            else:
                self._problem("tenants", None)
                self._hand_over(job, built)

    def _build(self, job: Job) -> _Built:
        expansion = self._expander.expand(job.loaded.config, job.loaded.hash, job.facts.inventory)
        content = Content.document("portcullis_data", expansion.data)
        digest = self._publisher.digest(content)
        same = self._publisher.epoch == job.facts.meta.epoch and self._publisher.serves("tenants", digest)
        body = b"" if same else self._publisher.sign("tenants", content, job.facts.meta.revision)
        return _Built(expansion, digest, body)

    def _hand_over(self, job: Job, built: _Built) -> None:
        if self._publisher.epoch != job.facts.meta.epoch:
            return  # The ledger was replaced meanwhile, and its own job is waiting.
        self._report(built.expansion)
        self._publisher.put("tenants", built.digest, built.body, job.facts.meta.revision, job.claim)

    def _report(self, expansion: Expansion) -> None:
        before = self.expansion.collisions if self.expansion else ()
        for collision in expansion.collisions:
            if collision not in before:
                LOG.warning("%s is offered by none of %s: their flat names collide", collision.name, collision.ids)
        self.expansion = expansion
