"""Taking tools away at runtime, and giving them back: decide, write the ledger, wait until every replica knows."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway import audit
from gateway.errors import NotFound, NotPermitted
from gateway.model import Question, Withdrawal
from gateway.questioning import require_credential
from gateway.recording import Caller, Recording

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.audit import AuditTrail
    from gateway.ids import Ref
    from gateway.ledger import Ledger
    from gateway.pdp.pdp import Pdp
    from gateway.replication import Applied, Replication


@dataclass(frozen=True, slots=True)
class Targets:
    """What an admin may name: servers and tenants of the configuration, and what is withdrawn by it.

    `is_member(tenant, server)` says whether the tenant may know that there is this server, and
    `is_offered(tenant, ref)` whether it may know of this on it; `is_listed(ref)` whether its server has it now.
    """

    has_server: Callable[[str], bool]
    is_member: Callable[[str, str], bool]
    is_offered: Callable[[str, Ref], bool]
    has_tenant: Callable[[str], bool]
    is_listed: Callable[[Ref], bool]
    withdrawn_by_config: Callable[[Ref, str | None], bool]


@dataclass(frozen=True, slots=True)
class Done:
    """A mutation that is in the ledger: at which revision, and which replicas enforce it by now."""

    revision: int
    applied: Applied
    matched: bool = True
    still_withdrawn: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """A withdrawal as somebody may see it: `by` is None for whoever is of a tenant, `at` in ms since the epoch."""

    ref: Ref
    tenant: str | None
    by: str | None
    at: int


class Lifecycle:
    """The admin actions on withdrawals."""

    def __init__(
        self, *, pdp: Pdp, ledger: Ledger, trail: AuditTrail, replication: Replication, targets: Targets
    ) -> None:
        self._pdp = pdp
        self._ledger = ledger
        self._trail = trail
        self._replication = replication
        self._targets = targets

    async def withdraw(self, caller: Caller, ref: Ref, tenant: str | None) -> Done:
        """Withdraw a tool from a tenant, or from everybody.

        Raises NotPermitted, NotFound, DecisionUnavailable, Unavailable; nothing is changed then.
        """
        with self._recording(caller, "ToolWithdrawn", ref, tenant) as recording:
            await self._require(recording, caller, "mcp_servers:lifecycle", ref, tenant)
            withdrawal = Withdrawal(ref=ref, tenant=tenant, by=caller.principal.subject, at=audit.now_ms())
            revision = await recording.mutated(functools.partial(self._ledger.withdraw, withdrawal))
        applied = await self._replication.applied(revision)
        return Done(revision, applied, matched=self._targets.is_listed(ref))

    async def restore(self, caller: Caller, ref: Ref, tenant: str | None) -> Done:
        """Lift the runtime withdrawal for a tenant, or with None every runtime withdrawal of the tool."""
        with self._recording(caller, "ToolRestored", ref, tenant) as recording:
            await self._require(recording, caller, "mcp_servers:lifecycle", ref, tenant)
            revision, _ = await recording.mutated(functools.partial(self._ledger.restore, ref, tenant))
        applied = await self._replication.applied(revision)
        return Done(revision, applied, still_withdrawn=await self._still_withdrawn(ref, tenant))

    async def withdrawals(self, caller: Caller, tenant: str | None) -> tuple[Shown, ...]:
        """Return the runtime withdrawals that concern a tenant, or with None all of them.

        Who is of a tenant is shown only those of what that tenant is offered, and not who made them: both would tell
        of what is the operator's alone.
        """
        with Recording(self._trail, caller, "mcp_servers:read", "AuthorizationGranted", tenant=tenant) as recording:
            await self._require(recording, caller, "mcp_servers:read", None, tenant)
            every = await self._ledger.withdrawals()
            found = [one for one in every if self._concerns(one, tenant)]
            home = caller.principal.tenant
            if home is None:
                return tuple(Shown(one.ref, one.tenant, one.by, one.at) for one in found)
            offered = [one for one in found if self._targets.is_offered(home, one.ref)]
            return tuple(Shown(one.ref, one.tenant, None, one.at) for one in offered)

    async def permit(self, caller: Caller, action: str) -> None:
        """Raise NotPermitted unless the caller may do this for every tenant."""
        with Recording(self._trail, caller, action, "AuthorizationGranted") as recording:
            await self._require(recording, caller, action, None, None)

    async def _still_withdrawn(self, ref: Ref, tenant: str | None) -> tuple[str, ...]:
        by_config = self._targets.withdrawn_by_config(ref, tenant)
        left = [one for one in await self._ledger.withdrawals() if one.ref == ref and one.tenant is None]
        return tuple(word for word, holds in (("config", by_config), ("runtime", left)) if holds)

    def _concerns(self, one: Withdrawal, tenant: str | None) -> bool:
        # What is withdrawn for all names servers that are for other tenants' eyes alone.
        return tenant in (None, one.tenant) or (
            one.tenant is None and tenant is not None and self._targets.is_member(tenant, one.ref.server)
        )

    def _recording(self, caller: Caller, type_: str, ref: Ref, tenant: str | None) -> Recording:
        target = {
            "server": ref.server,
            "name": audit.clipped(ref.name),
            "id": audit.clipped(str(ref)),
            "tenant": tenant,
        }
        return Recording(self._trail, caller, "mcp_servers:lifecycle", type_, **target)

    async def _require(
        self, recording: Recording, caller: Caller, action: str, ref: Ref | None, tenant: str | None
    ) -> None:
        question = Question(
            action=action,
            principal=caller.principal,
            request=caller.request,
            server=ref.server if ref else None,
            name=ref.name if ref else None,
            tenant=tenant,
        )
        decision = await recording.decided(self._pdp.admin(question))
        require_credential(decision, caller.principal)
        if not decision.allow:
            raise NotPermitted(decision.reasons)
        if ref is not None and not self._may_know(caller, ref.server, tenant):
            raise NotFound(f"no server {ref.server!r}")
        if tenant is not None and not self._targets.has_tenant(tenant):
            raise NotFound(f"no tenant {tenant!r}")

    def _may_know(self, caller: Caller, server: str, tenant: str | None) -> bool:
        """Say whether there is such a server, to one who acts for its own tenant only as far as that is a member."""
        if tenant is not None and tenant == caller.principal.tenant and self._targets.has_tenant(tenant):
            return self._targets.is_member(tenant, server)
        return self._targets.has_server(server)
