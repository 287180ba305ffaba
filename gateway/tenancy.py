"""What a tenant is offered, for whoever may know: its servers, how they are, what of them the caller may use."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.errors import NotPermitted
from gateway.ids import Ref
from gateway.model import Question, View
from gateway.questioning import require_credential
from gateway.recording import Recording

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from gateway.audit import AuditTrail
    from gateway.model import AdminDecision
    from gateway.pdp.pdp import Pdp
    from gateway.recording import Caller

LIST = "mcp_servers:list"
# Who reads about servers everywhere is an operator, and learns which names are contested.
OPERATE = "mcp_servers:read"
READ_METRICS = "metrics:read"


@dataclass(frozen=True, slots=True)
class OfferedServer:
    """One server that a tenant is offered, by the id that it is called by there; `health` is of the last listing."""

    id: str
    mode: str
    description: str
    health: str


@dataclass(frozen=True, slots=True)
class Directory:
    """What a configuration says of its tenants.

    `servers` are those that one is offered; `collisions` are the names that more than one of them stands for, each
    with the canonical ids.
    """

    servers: Callable[[str], Sequence[OfferedServer]]
    collisions: Callable[[str], Awaitable[Mapping[str, Sequence[str]]]]


@dataclass(frozen=True, slots=True)
class Offering:
    """What the caller is told; `tools` by server, `collisions` None for whoever is no operator."""

    servers: Sequence[OfferedServer]
    tools: Mapping[str, Sequence[str]]
    collisions: Mapping[str, Sequence[str]] | None


class Tenancy:
    """What is asked about one tenant, and needs a permission there."""

    def __init__(self, *, pdp: Pdp, trail: AuditTrail, directory: Directory) -> None:
        self._pdp = pdp
        self._trail = trail
        self._directory = directory

    async def offering(self, caller: Caller, tenant: str) -> Offering:
        """Return a tenant's servers; raises NotPermitted, DecisionUnavailable, InvalidCredential."""
        with Recording(self._trail, caller, LIST, "AuthorizationGranted", tenant=tenant) as recording:
            await self._require(recording, caller, LIST, tenant)
            servers = self._directory.servers(tenant)
            recording.target["count"] = len(servers)
            usable = await asyncio.gather(*(self._usable(caller, one.id) for one in servers))
            tools = {one.id: names for one, names in zip(servers, usable, strict=True)}
            operates = await self._operates(caller)
            return Offering(servers, tools, await self._directory.collisions(tenant) if operates else None)

    async def permit_metrics(self, caller: Caller, tenant: str) -> None:
        """Raise NotPermitted unless the caller may read the metrics of this tenant."""
        with Recording(self._trail, caller, READ_METRICS, "AuthorizationGranted", tenant=tenant) as recording:
            await self._require(recording, caller, READ_METRICS, tenant)

    async def _operates(self, caller: Caller) -> bool:
        """Say whether the caller is an operator; asked for its own sake, and no refusal of anything that was asked for.

        One who acts for the tenant is asked about as who it is, because nobody who acts reads about servers elsewhere.
        """
        itself = replace(caller, principal=replace(caller.principal, acting_for=None))
        return (await self._pdp.admin(question(itself, OPERATE, None))).allow

    async def _usable(self, caller: Caller, server: str) -> list[str]:
        """Return the tools that the caller may use at the endpoint of that server alone, by their names there."""
        asked = Question(
            action="tools/list", principal=caller.principal, request=caller.request, view=View.SERVER, server=server
        )
        decision = await self._pdp.list(asked)
        require_credential(decision, caller.principal)
        return [Ref.parse(id_).name for id_ in decision.ids]

    async def _require(self, recording: Recording, caller: Caller, action: str, tenant: str) -> None:
        decision: AdminDecision = await recording.decided(self._pdp.admin(question(caller, action, tenant)))
        require_credential(decision, caller.principal)
        if not decision.allow:
            raise NotPermitted(decision.reasons)


def question(caller: Caller, action: str, tenant: str | None) -> Question:
    """Return the question whether a caller may do something at a tenant, or with None everywhere."""
    return Question(action=action, principal=caller.principal, request=caller.request, tenant=tenant)
