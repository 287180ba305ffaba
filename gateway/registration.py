"""This gateway's place among the replicas that a mutation waits for: taken at start, kept, given up at a clean end.

While it is gone, sync answers 401 to this gateway's OPA and counts it out: what is withdrawn then does not arrive here,
and nobody waits for it.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.facts import Replica
    from gateway.ledger import Ledger

LOG = logging.getLogger("portcullis.replication")


class Uncounted:
    """The place of a gateway that nobody waits for: a sync of its own alone knows it."""

    counted = True

    async def take(self) -> None:
        """Do nothing: it is in no count."""

    async def keep(self) -> None:
        """Do nothing: it cannot be forgotten."""

    async def give_up(self) -> None:
        """Do nothing: it is in no count."""


class Registration:
    """`replica` is who this gateway is; `now` is the time in milliseconds since the epoch."""

    def __init__(self, ledger: Ledger, replica: Replica, now: Callable[[], int]) -> None:
        self._ledger = ledger
        self._replica = replica
        self._now = now
        self.counted = False
        """Whether the ledger, as it was last read, counts this gateway."""

    async def take(self) -> None:
        """Count this gateway from now on, in the place of whoever had its name; raises Unavailable."""
        await self._ledger.register_replica(replace(self._replica, registered_at=self._now()))
        self.counted = True

    async def keep(self) -> None:
        """Count this gateway again if it was forgotten; whoever has taken its name keeps it. Raises Unavailable."""
        found = await self._holder()
        before, self.counted = self.counted, self._is_ours(found)
        if found is None:
            LOG.warning("the replica %s was forgotten while it runs: it counts itself again", self._replica.name)
            await self.take()
        elif before and not self.counted:
            # Taking it back would go on for ever, each registration being news for the other.
            LOG.error("another gateway has taken the name %s: give each its own opa.replica", self._replica.name)

    async def give_up(self) -> None:
        """Count this gateway no more, unless somebody else has its name by now."""
        try:
            if self._is_ours(await self._holder()):
                await self._ledger.forget_replica(self._replica.name)
        except Unavailable as error:
            LOG.warning("the replica %s stays in the count although it ends: %s", self._replica.name, error)

    def _is_ours(self, found: Replica | None) -> bool:
        return found is not None and found.token_hash == self._replica.token_hash

    async def _holder(self) -> Replica | None:
        return next((one for one in await self._ledger.replicas() if one.name == self._replica.name), None)
