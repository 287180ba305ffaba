"""The admin API on withdrawals: who, whether, then the ledger; the answer says which replicas enforce it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gateway.endpoints.answers import changed, shown
from gateway.errors import NotFound
from gateway.ids import Kind, Ref

if TYPE_CHECKING:
    from gateway.endpoints.entry import Entry, Reception
    from gateway.lifecycle import Shown


@dataclass(frozen=True, slots=True)
class Admin:
    """`/api/admin/…`; closed while authentication is off, because then nobody is known."""

    reception: Reception

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        tool = "/api/admin/tools/{server}/{tool:.+}"
        return [
            web.post(tool + "/withdraw", self.withdraw),
            web.post(tool + "/restore", self.restore),
            web.get("/api/admin/withdrawals", self.withdrawals),
        ]

    async def withdraw(self, request: web.Request) -> web.Response:
        """Withdraw a tool, prompt or resource from the body's tenant, or from everybody."""
        entry = await self.reception.enter(request)
        kind, tenant = meant(entry)
        ref = target_of(request, kind)
        done = await self.reception.gate.detached(entry.door.lifecycle.withdraw(entry.caller, ref, tenant))
        headers = {} if done.matched else {"Portcullis-Matched": "0"}
        return changed({"withdrawn": True} | named(ref, tenant), done, headers)

    async def restore(self, request: web.Request) -> web.Response:
        """Lift the runtime withdrawal for the body's tenant, or every one of the same thing."""
        entry = await self.reception.enter(request)
        kind, tenant = meant(entry)
        ref = target_of(request, kind)
        done = await self.reception.gate.detached(entry.door.lifecycle.restore(entry.caller, ref, tenant))
        headers = {"Portcullis-Still-Withdrawn": ", ".join(done.still_withdrawn)} if done.still_withdrawn else {}
        return changed({"restored": True} | named(ref, tenant), done, headers)

    async def withdrawals(self, request: web.Request) -> web.Response:
        """List runtime withdrawals: all of them, or those that concern `?tenant_id=` or the caller's tenant."""
        entry = await self.reception.enter(request)
        found = await entry.door.lifecycle.withdrawals(entry.caller, entry.tenant)
        return shown({"withdrawals": [row(one) for one in found]})


def target_of(request: web.Request, kind: Kind) -> Ref:
    """Return what the path names; what no server can be called, or can have, is not found (A18)."""
    ref = Ref(request.match_info["server"], kind, request.match_info["tool"])
    if not ref.is_possible:
        raise NotFound(f"no such server or {kind}")
    return ref


def meant(entry: Entry) -> tuple[Kind, str | None]:
    """Return `kind` and `tenant_id` of an admin body: without a kind a tool is meant, without a tenant everybody."""
    return Kind(entry.body.get("kind", Kind.TOOL)), entry.body.get("tenant_id")


def row(one: Shown) -> dict[str, Any]:
    """Return a withdrawal as it is listed."""
    return named(one.ref, one.tenant) | ({} if one.by is None else {"by": one.by}) | {"at": one.at}


def named(ref: Ref, tenant: str | None) -> dict[str, Any]:
    """Return how answers name a tool, a prompt or a resource, and a tenant."""
    return {"mcp_server": ref.server, ref.kind.value: ref.name, "tenant_id": tenant}
