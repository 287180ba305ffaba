"""The corridor that every list and call walks: decide, forward, record. Read this first.

A list and a call are one rule (docs/policy.md): what OPA says is visible is listed, and a call outside it never
reaches a server. The decision names the backend, so what was decided is what is routed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway import audit
from gateway.errors import InvalidCredential, NotPermitted, NotVisible
from gateway.model import Question
from gateway.recording import Caller, Recording

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.allowance import Allowance
    from gateway.audit import AuditTrail
    from gateway.catching_up import CatchUp
    from gateway.ids import Ref
    from gateway.inventory import Inventory
    from gateway.mcp.answers import Answer
    from gateway.mcp.tools import Fragment
    from gateway.model import CallDecision, Principal, Verdict
    from gateway.pdp.pdp import Pdp
    from gateway.upstream.pool import Upstreams


class Pep:
    """The policy enforcement point for tools."""

    def __init__(
        self,
        *,
        pdp: Pdp,
        allowance: Allowance,
        catch_up: CatchUp,
        inventory: Inventory,
        upstreams: Upstreams,
        trail: AuditTrail,
        audit_arguments: bool,
    ) -> None:
        self._pdp = pdp
        self._allowance = allowance
        self._catch_up = catch_up
        self._inventory = inventory
        self._upstreams = upstreams
        self._trail = trail
        self._audit_arguments = audit_arguments

    async def list_tools(self, caller: Caller) -> Fragment:
        """Return the encoded definitions of exactly the tools that the caller may see, in a stable order.

        Raises OverLimit, DecisionUnavailable, and InvalidCredential if policy knows the credential as revoked.
        """
        await self._allowance.require(caller, "tools/list")
        with Recording(self._trail, caller, "tools/list", "AuthorizationGranted") as recording:
            decision = await recording.decided(self._pdp.list(self._question("tools/list", caller)))
            require_credential(decision, caller.principal)
            recording.target["count"] = len(decision.ids)
            with self._allowance.slot(caller, decision):
                return await self._inventory.listing(decision.ids, caller.view)

    async def call_tool(
        self, caller: Caller, name: str, arguments: Mapping[str, Any] | None, meta: Mapping[str, Any]
    ) -> Answer:
        """Call the tool that policy says `name` is, with exactly the arguments that were decided on.

        Raises NotVisible, NotPermitted, UpstreamFailed, and what a list does.
        """
        await self._allowance.require(caller, "tools/call")
        with Recording(self._trail, caller, "tools/call", "ToolCalled", name=audit.clipped(name)) as recording:
            question = self._question("tools/call", caller, name=name, arguments=arguments)
            if self._audit_arguments:
                recording.target["arguments"] = arguments
            decision = await recording.decided(self._pdp.call(question))
            require_credential(decision, caller.principal)
            if decision.ref is not None:
                recording.target.update(id=str(decision.ref), server=decision.ref.server)
            with self._allowance.slot(caller, decision):
                if not decision.visible or decision.ref is None:
                    raise NotVisible(decision.reasons)
                if not decision.allow:
                    raise NotPermitted(decision.reasons)
                return await self._forwarded(recording, caller, decision, decision.ref, arguments, meta)

    async def _forwarded(
        self,
        recording: Recording,
        caller: Caller,
        decision: CallDecision,
        ref: Ref,
        arguments: Mapping[str, Any] | None,
        meta: Mapping[str, Any],
    ) -> Answer:
        """Send a call to where the configuration says that it was decided by."""
        config, onward = decision.config, recording.onward(meta, ref)
        if not self._upstreams.knows(config):
            await self._catch_up.to(config)
        call = self._upstreams.call(ref, arguments, onward, principal=caller.principal, config=config)
        answer = await recording.forwarded(call)
        recording.target["is_error"] = answer.is_error
        return answer

    def _question(self, action: str, caller: Caller, **asked: Any) -> Question:
        return Question(
            action=action,
            principal=caller.principal,
            request=caller.request,
            view=caller.view,
            server=caller.server,
            client=caller.client,
            **asked,
        )


def require_credential(verdict: Verdict, principal: Principal) -> None:
    """Raise InvalidCredential where policy knows of a revocation that authentication has not learnt yet.

    It names the kind of credential as authentication does, so that the caller cannot tell which of the two refused.
    """
    if verdict.reasons and any(reason.code == "credential_revoked" for reason in verdict.reasons):
        raise InvalidCredential("revoked", principal.kind)
