"""The audit trail, as far as somebody may read it."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from gateway.administration.acting import READING
from gateway.single_flight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.administration.acting import Actor
    from gateway.ledger import Ledger
    from gateway.ledger.chain import Verification
    from gateway.ledger.values import AuditFilter
    from gateway.model import AuditEvent

READ = "audit:read"


class Events:
    """Reads the trail."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        # Looking at a million events takes seconds; whoever asks meanwhile is answered by the same look.
        self._look = SingleFlight(self._verified)

    async def page(
        self,
        actor: Actor,
        tenant: str | None,
        wanted: AuditFilter,
        *,
        after: int | None,
        limit: int,
        newest_first: bool,
    ) -> Sequence[tuple[int, AuditEvent]]:
        """Return (sequence number, event) of a tenant, or with None of all, that follow the number `after`."""
        with actor.begin(READING, READ, tenant=tenant) as deed:
            await deed.require(READ, tenant)
            within = replace(wanted, scope=tenant)
            return await self._ledger.audit_page(within, after=after, limit=limit, newest_first=newest_first)

    async def verify(self, actor: Actor) -> Verification:
        """Look at the chain of every writer, which is of no tenant: it needs the right to read all of the trail."""
        with actor.begin(READING, READ) as deed:
            await deed.require(READ, None)
            return await self._look()

    async def _verified(self) -> Verification:
        return await self._ledger.audit_chain()


def event_document(seq: int, event: AuditEvent) -> dict[str, Any]:
    """Return an event as answers and files show it."""
    return {"seq": seq, **asdict(event)}


def verification_document(found: Verification) -> dict[str, Any]:
    """Return what a look at the chains found."""
    return {
        "intact": not found.breaks,
        "events": found.events,
        "unchained": found.unchained,
        "writers": [{"name": one.name, "number": one.number, "hash": one.hash.hex()} for one in found.writers],
        "breaks": [
            {
                "damage": one.damage.value,
                "writer": one.writer,
                "number": one.number,
                "seq": one.seq,
                "why": one.why,
            }
            for one in found.breaks
        ],
    }
