"""The corridor that every list and call walks: decide, forward, record. Read this first.

A list and a call are one rule (docs/policy.md): what OPA says is visible is listed, and a call outside it never
reaches a server. The decision names the backend, so what was decided is what is routed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from gateway import audit
from gateway.errors import NotVisible
from gateway.forward import Admitted
from gateway.ids import Ref
from gateway.mcp.named import NAMED, Asked
from gateway.questioning import about, question_of, require_credential
from gateway.recording import Caller, Recording
from gateway.sight import admitted, at_present
from gateway.upstream.call import Parted

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gateway.allowance import Allowance
    from gateway.audit import AuditTrail
    from gateway.catching_up import CatchUp
    from gateway.forward import Forward
    from gateway.inventory import Inventory
    from gateway.mcp.agent import Agent
    from gateway.mcp.answers import Answer
    from gateway.mcp.definitions import Fragment
    from gateway.model import CallDecision, Question
    from gateway.outlet import Outlet
    from gateway.pdp.pdp import Pdp
    from gateway.tickets import Ticket


class Pep:
    """The policy enforcement point; what differs by kind is data (`mcp.sections`, `mcp.named`)."""

    def __init__(
        self,
        *,
        pdp: Pdp,
        allowance: Allowance,
        catch_up: CatchUp,
        inventory: Inventory,
        forward: Forward,
        trail: AuditTrail,
        audit_arguments: bool,
    ) -> None:
        self._pdp = pdp
        self._allowance = allowance
        self._catch_up = catch_up
        self._inventory = inventory
        self._forward = forward
        self._trail = trail
        self._audit_arguments = audit_arguments

    async def listing(self, caller: Caller, method: str) -> Fragment:
        """Return the encoded definitions of exactly what the caller may see of a list, in a stable order.

        Raises OverLimit, DecisionUnavailable, and InvalidCredential if policy knows the credential as revoked.
        """
        await self._allowance.require(caller, method)
        with Recording(self._trail, caller, method, "AuthorizationGranted") as recording:
            decision = await recording.decided(self._pdp.list(question_of(method, caller)))
            require_credential(decision, caller.principal)
            recording.target["count"] = len(decision.ids)
            with self._allowance.slot(caller, decision):
                return await self._inventory.listing(decision.ids, caller.view)

    async def call(self, caller: Caller, agent: Agent, asked: Asked, outlet: Outlet) -> Answer:
        """Have the thing that policy says is meant do what is asked, with exactly what was decided on.

        Raises NotVisible, NotPermitted, HeadersDisagree, StateRefused, UpstreamFailed, what a list does, and Parted
        where the server closed the stream and the agent can come back for more.
        """
        await self._allowance.require(caller, asked.method)
        event = NAMED[asked.method].event
        with Recording(self._trail, caller, asked.method, event, name=audit.clipped(asked.name)) as recording:
            if agent.session is not None:
                recording.target["session"] = agent.session
            question = about(asked, caller, self._inventory, recording.target)
            if self._audit_arguments:
                recording.target["arguments"] = asked.arguments
            decision = await self._decided(recording, question)
            # Held until the answer is there, however much is said before it.
            with self._allowance.slot(caller, decision):
                return await self._admitted(recording, question, decision, agent, asked, outlet)

    async def resume(self, caller: Caller, agent: Agent, ticket: Ticket, outlet: Outlet) -> Answer:
        """Return the answer to a call whose stream the agent takes up again, if it may still see what it called.

        Its arguments were decided on when it was made, and are not at hand. Raises as `call` does.
        """
        method, ref = ticket.method or "", Ref.parse(ticket.ref)
        await self._allowance.require(caller, method)
        notes = {"name": audit.clipped(ticket.name), "resumed": True, "session": agent.session}
        with Recording(self._trail, caller, method, NAMED[method].event, **notes) as recording:
            question = about(Asked(ticket.id, method, ticket.name, None, {}), caller, self._inventory, {})
            decision = await self._decided(recording, question)
            seen = decision.visible and decision.ref == ref
            with self._allowance.slot(caller, replace(decision, allow=seen)):
                if not seen:
                    raise NotVisible(decision.reasons)
                recording.admitted = True
                config = await self._placed(decision)
                work = self._forward.resume(question.principal, agent, ticket, outlet, recording.target, config)
                return await self._forwarded(recording, work)

    async def _admitted(
        self,
        recording: Recording,
        question: Question,
        decision: CallDecision,
        agent: Agent,
        asked: Asked,
        outlet: Outlet,
    ) -> Answer:
        """Send a call on, if it is admitted, to where the configuration says that it was decided by."""
        ref = admitted(decision)
        asked = msgspec.structs.replace(asked, meta=recording.onward(asked.meta, ref))
        call = Admitted(question.principal, agent, asked, ref, await self._placed(decision))
        self._forward.require_headers(call)
        outlet.check = lambda: self._still(question, ref)

        async def again() -> str:
            decided = await self._decided(recording, at_present(question))
            admitted(decided, ref)
            return await self._placed(decided)

        return await self._forwarded(recording, self._forward.call(call, outlet, again, recording.target))

    async def _decided(self, recording: Recording, question: Question) -> CallDecision:
        decision = await recording.decided(self._pdp.call(question))
        require_credential(decision, question.principal)
        if decision.ref is not None:
            recording.target.update(id=str(decision.ref), server=decision.ref.server)
        return decision

    async def _still(self, question: Question, ref: Ref) -> int:
        decision = await self._pdp.call(at_present(question))
        require_credential(decision, question.principal)
        admitted(decision, ref)
        return decision.revision

    async def _placed(self, decision: CallDecision) -> str:
        """Return the configuration that a decision was made by, once its servers are here."""
        if not self._forward.knows(decision.config):
            await self._catch_up.to(decision.config)
        return decision.config

    async def _forwarded(self, recording: Recording, work: Awaitable[Answer]) -> Answer:
        try:
            answer = await recording.forwarded(work)
        except Parted:
            recording.target["answered"] = False
            raise
        recording.target["is_error"] = answer.is_error
        return answer
