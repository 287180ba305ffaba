"""Tenants that ask for more than they may have: recorded once and then counted, and answered after a breath.

The breath keeps who asks again at once from taking the gateway's time from everybody else. It is nobody's turn in a
queue: the request is refused, and was from the start.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from typing import TYPE_CHECKING

from gateway import audit, background
from gateway.authn.failures import FailureTally

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AsyncExitStack

    from gateway.audit import AuditTrail
    from gateway.errors import OverLimit
    from gateway.recording import Caller

# The more a tenant has waiting the longer each waits, so that refusing it takes no more than so many turns a second.
BREATH_SECONDS = 0.1
LONGEST_SECONDS = 1.0
REFUSALS_A_SECOND = 200
# So many hold their breath at most; each keeps its request in memory. Who comes then is refused at once.
MAX_WAITING = 1000
FOLD_SECONDS = 5.0
LIMITED = "RequestLimited"


class TurnedAway:
    """Refuses what policy need not be asked about. `breathe` waits for so many seconds."""

    def __init__(
        self,
        trail: AuditTrail,
        *,
        clock: Callable[[], float] = time.monotonic,
        breathe: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._trail = trail
        self._clock = clock
        self._breathe = breathe
        self._tally = FailureTally(grouped=False)
        self._waiting: Counter[str] = Counter()

    async def refuse(self, caller: Caller, action: str, error: OverLimit) -> None:
        """Record that a request is refused, by itself or in a count, and return when that may be said."""
        self._trail.require_room()
        tenant = caller.principal.for_tenant or ""
        if self._tally.note(tenant, self._clock()):
            self._trail.record(
                audit.event(
                    LIMITED,
                    "failure",
                    reason=error.reason,
                    tenant=tenant or None,
                    actor=audit.actor_of(caller.principal),
                    source=audit.source_of(caller.request),
                    target={"action": action},
                )
            )
        if self._waiting.total() < MAX_WAITING:
            self._waiting[tenant] += 1
            try:
                await self._breathe(breath(self._waiting[tenant]))
            finally:
                self._waiting[tenant] -= 1
                if not self._waiting[tenant]:
                    del self._waiting[tenant]

    def record_folded(self, *, everything: bool = False) -> None:
        """Record the counts of refusals that were not recorded one by one, of the minutes that are over."""
        for folded in self._tally.due(self._clock(), everything=everything):
            self._trail.record(
                audit.event(LIMITED, "failure", reason="repeated", tenant=folded.address, count=folded.count)
            )


def breath(waiting: int) -> float:
    """Return how many seconds one of so many waits; those that were refused together do not come back together."""
    seconds = min(LONGEST_SECONDS, max(BREATH_SECONDS, waiting / REFUSALS_A_SECOND))
    return seconds * (0.5 + random.random())  # noqa: S311 (no secret)


def turning_away(stack: AsyncExitStack, trail: AuditTrail) -> TurnedAway:
    """Return a TurnedAway whose counts are recorded, the last of them when the stack unwinds."""
    made = TurnedAway(trail)
    stack.callback(made.record_folded, everything=True)
    background.every(stack, FOLD_SECONDS, made.record_folded, "fold requests over limits")
    return made
