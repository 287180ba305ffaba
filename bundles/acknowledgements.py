"""Several syncs on one ledger: each records there what the replicas that poll it have applied, and reads the rest.

So each can tell of every counted replica. Nothing is written as long as all of them poll the same sync.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from bundles.elsewhere import LEASE_SECONDS, RENEWAL_SECONDS
from gateway.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bundles.access import Access
    from bundles.problems import Problems
    from bundles.publisher import Publisher
    from gateway.facts import Acknowledgement
    from gateway.ledger import Ledger

RETRY_SECONDS = 0.5
NEVER = float("-inf")


class Acknowledgements:
    """`now` is the time in seconds since the epoch."""

    def __init__(self, access: Access, publisher: Publisher, problems: Problems, now: Callable[[], float]) -> None:
        self._access = access
        self._publisher = publisher
        self._problems = problems
        self._now = now
        self._clock = publisher.replicas.clock
        self._said: dict[str, Acknowledgement] = {}
        self._renewed = NEVER
        self._failing_since: float | None = None

    @property
    def withheld(self) -> bool:
        """Whether other syncs could not be told for so long that they may soon count this one's replicas out.

        They do that once such a replica denies everything because its data is old: so that must not seem young.
        """
        replicas = self._publisher.replicas
        failing = self._failing_since
        if failing is None or replicas.leaves_after is None or not replicas.elsewhere.anybody:
            return False
        return self._clock() - failing > LEASE_SECONDS

    async def hear(self, ledger: Ledger) -> None:
        """Take what other syncs say, if there are any; raises Unavailable."""
        if self._publisher.replicas.others:
            self._publisher.hear(await ledger.acknowledgements())

    async def run(self) -> None:
        """Say what is new at once, and everything every RENEWAL_SECONDS, until cancelled."""
        while True:
            found = self._due()
            if not found:
                await self._publisher.moved(max(0.0, self._renewed + RENEWAL_SECONDS - self._clock()))
                continue
            try:
                await self._say(found)
            except Unavailable as error:
                self._failed(error)
                await asyncio.sleep(RETRY_SECONDS)

    def _due(self) -> Sequence[Acknowledgement]:
        """Return what is to be said now."""
        if not self._publisher.replicas.others:
            self._well()
        found = self._applied_here()
        self._said = {name: said for name, said in self._said.items() if name in found}
        news = [one for one in found.values() if self._is_news(one)]
        if self._clock() - self._renewed < RENEWAL_SECONDS:
            return news
        self._renewed = self._clock()
        return list(found.values())

    def _applied_here(self) -> dict[str, Acknowledgement]:
        replicas = self._publisher.replicas
        names = replicas.names if replicas.others else ()
        at = int(self._now() * 1000)
        found = (self._publisher.acknowledgement(name, at) for name in names if replicas.polls_here(name))
        return {one.replica: one for one in found if one}

    async def _say(self, found: Sequence[Acknowledgement]) -> None:
        await self._access.ledger.acknowledge(found, news=any(map(self._is_news, found)))
        self._said |= {one.replica: one for one in found}
        self._well()

    def _well(self) -> None:
        self._failing_since, self._publisher.replicas.mute = None, False
        self._problems.note("acknowledgements", None)

    def _failed(self, error: Unavailable) -> None:
        if self._failing_since is None:
            self._failing_since, self._publisher.replicas.mute = self._clock(), True
        self._renewed = NEVER
        self._problems.note("acknowledgements", f"other syncs cannot be told what was applied here: {error}")

    def _is_news(self, one: Acknowledgement) -> bool:
        said = self._said.get(one.replica)
        return said is None or replace(one, at=said.at) != said
