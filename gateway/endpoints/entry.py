"""What every route of the administration begins with: who asks, what it says, held to the contract, and for whom."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gateway.endpoints.gate import placed
from gateway.errors import TenantMismatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from aiohttp import web

    from gateway.administration import Administration
    from gateway.administration.acting import Actor
    from gateway.endpoints.contract import Contract
    from gateway.endpoints.gate import Door, Gate
    from gateway.recording import Caller

    Checks = Callable[[Administration, Mapping[str, Any]], Iterable[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Entry:
    """An admin request that was let in: the door in force, who asks, and what it says."""

    door: Door
    caller: Caller
    actor: Actor
    body: Mapping[str, Any]
    query: Mapping[str, Any]

    @property
    def administration(self) -> Administration:
        """All that the admin API does, under the configuration in force."""
        return self.door.administration

    @property
    def tenant(self) -> str | None:
        """The tenant that is asked about: the one that is named, else the caller's own; None for all of them."""
        named: str | None = self.query.get("tenant_id", self.actor.home)
        return named


@dataclass(frozen=True, slots=True)
class Reception:
    """Lets admin requests in."""

    gate: Gate
    contract: Contract

    async def enter(self, request: web.Request, also: Checks = lambda *_: ()) -> Entry:
        """Return a request as an entry. Raises what `Gate.operator` and `Gate.body` raise, and InvalidBody.

        `also` yields what is wrong with a body beyond what the contract says.
        """
        door, caller = await self.gate.operator(request)
        query = self.contract.query(request)
        body = await self.gate.body(request, door)
        found = self.contract.body(request, body, lambda document: also(door.administration, document))
        for named in (query, found):
            self._require_one_tenant(caller, named.get("tenant_id"))
        return Entry(door, caller, door.office.admits(caller), found, query)

    def _require_one_tenant(self, caller: Caller, named: str | None) -> None:
        """Raise TenantMismatch where a request is for one tenant by header or path, and for another by what it says."""
        if caller.principal.acting_for is not None and named not in (None, caller.principal.acting_for):
            self.gate.refusals.foreign_tenant(caller, named)
            raise TenantMismatch(named)

    def acting_for(self, entry: Entry, tenant: str | None) -> Entry:
        """Return the entry as one for a tenant that its body or query names, which only who has none may choose.

        Raises TenantMismatch, recorded, for whoever is of another tenant.
        """
        if tenant is None:
            return entry
        try:
            who = placed(entry.caller.principal, [tenant], selects=True)
        except TenantMismatch as mismatch:
            self.gate.refusals.foreign_tenant(entry.caller, mismatch.tenant)
            raise
        caller = replace(entry.caller, principal=who)
        return replace(entry, caller=caller, actor=entry.door.office.admits(caller))
