"""Who listens beside requests: what of each kind a caller sees, and which resources it may hear of."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from gateway import audit
from gateway.errors import DecisionUnavailable
from gateway.ids import Kind
from gateway.mcp.named import NAMED, Asked
from gateway.mcp.sections import SECTIONS, TOOLS
from gateway.questioning import about, question_of, require_credential
from gateway.recording import Caller, Recording
from gateway.sight import Sight, admitted, at_present

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from gateway.allowance import Allowance
    from gateway.audit import AuditTrail
    from gateway.ids import Ref
    from gateway.inventory import Inventory
    from gateway.mcp.sections import Section
    from gateway.model import ListDecision
    from gateway.pdp.pdp import Pdp

EVERY_KIND = frozenset(Kind)
SUBSCRIBE = "resources/subscribe"


class Hearing:
    """Asks policy for those who listen; a stream is asked for again and again, and holds no slot of its tenant's."""

    def __init__(self, *, pdp: Pdp, allowance: Allowance, inventory: Inventory, trail: AuditTrail) -> None:
        self._pdp = pdp
        self._allowance = allowance
        self._inventory = inventory
        self._trail = trail

    async def begin(self, caller: Caller, kinds: Collection[Kind] = EVERY_KIND, **session: str) -> Sight:
        """Return what `sight` does to a caller who begins to listen, which is counted and recorded.

        Raises OverLimit, DecisionUnavailable, and InvalidCredential if policy knows the credential as revoked.
        """
        await self._allowance.require(caller, TOOLS.method)
        with Recording(self._trail, caller, "listen", "StreamOpened", **session) as recording:
            first, *others = self._sections(kinds)
            decision = await recording.decided(self._pdp.list(question_of(first.method, caller)))
            require_credential(decision, caller.principal)
            with self._allowance.slot(caller, decision):
                return Sight.of([(first.kind, decision), *await self._seen(caller, others)])

    async def sight(self, caller: Caller, kinds: Collection[Kind] = EVERY_KIND) -> Sight:
        """Return what the caller sees now of these kinds; raises DecisionUnavailable, InvalidCredential."""
        return Sight.of(await self._seen(caller, self._sections(kinds)))

    async def watch(self, caller: Caller, uri: str, **session: str) -> Ref:
        """Return what a URI is, to a caller who wants to hear when it changes.

        Raises NotVisible, NotPermitted, and what `begin` does.
        """
        await self._allowance.require(caller, SUBSCRIBE)
        notes = {"name": audit.clipped(uri), **session}
        with Recording(self._trail, caller, SUBSCRIBE, NAMED[SUBSCRIBE].event, **notes) as recording:
            question = about(_asked(uri), caller, self._inventory, recording.target)
            decision = await recording.decided(self._pdp.call(question))
            require_credential(decision, caller.principal)
            if decision.ref is not None:
                recording.target.update(id=str(decision.ref), server=decision.ref.server)
            with self._allowance.slot(caller, decision):
                return admitted(decision)

    async def may_hear(self, caller: Caller, uri: str, server: str) -> bool:
        """Say whether the caller may know that a resource of a server has changed; in doubt it may not."""
        question = at_present(about(_asked(uri), caller, self._inventory, {}))
        with contextlib.suppress(DecisionUnavailable):
            decision = await self._pdp.call(question)
            return decision.allow and decision.ref is not None and decision.ref.server == server
        return False

    def _sections(self, kinds: Collection[Kind]) -> list[Section]:
        """Return the lists of these kinds that anything is in; one at least, because it says who may list at all."""
        return [one for one in SECTIONS.values() if one.kind in kinds and self._inventory.summary.has(one)] or [TOOLS]

    async def _seen(self, caller: Caller, sections: Iterable[Section]) -> list[tuple[Kind, ListDecision]]:
        found = []
        for section in sections:
            decision = await self._pdp.list(at_present(question_of(section.method, caller)))
            require_credential(decision, caller.principal)
            found.append((section.kind, decision))
        return found


def _asked(uri: str) -> Asked:
    return Asked(0, SUBSCRIBE, uri, None, {})
