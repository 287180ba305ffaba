"""The admin API on withdrawals: who, whether, then the ledger; the answer says which replicas enforce it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from gateway.errors import InvalidBody, NotFound
from gateway.ids import TENANT_ID, Kind, Ref
from gateway.mcp import json
from gateway.mcp.errors import Malformed

if TYPE_CHECKING:
    from gateway.endpoints.gate import Gate
    from gateway.lifecycle import Done

# Enough to mend a body by; an answer must not be larger than what was sent.
MAX_MISTAKES = 10
FIELDS = ("kind", "tenant_id")


@dataclass(frozen=True, slots=True)
class Admin:
    """`/api/admin/…`; closed while authentication is off, because then nobody is known."""

    gate: Gate

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
        door, caller = await self.gate.operator(request)
        kind, tenant = meant(await self.gate.body(request, door))
        ref = target_of(request, kind)
        done = await self.gate.detached(door.lifecycle.withdraw(caller, ref, tenant))
        headers = {} if done.matched else {"Portcullis-Matched": "0"}
        return answer({"withdrawn": True} | named(ref, tenant), done, headers)

    async def restore(self, request: web.Request) -> web.Response:
        """Lift the runtime withdrawal for the body's tenant, or every one of the same thing."""
        door, caller = await self.gate.operator(request)
        kind, tenant = meant(await self.gate.body(request, door))
        ref = target_of(request, kind)
        done = await self.gate.detached(door.lifecycle.restore(caller, ref, tenant))
        headers = {"Portcullis-Still-Withdrawn": ", ".join(done.still_withdrawn)} if done.still_withdrawn else {}
        return answer({"restored": True} | named(ref, tenant), done, headers)

    async def withdrawals(self, request: web.Request) -> web.Response:
        """List runtime withdrawals: all of them, or those that concern `?tenant_id=` or the caller's tenant."""
        door, caller = await self.gate.operator(request)
        tenant = request.query.get("tenant_id", caller.principal.tenant)
        if tenant is not None and not TENANT_ID.fullmatch(tenant):
            raise InvalidBody((("tenant_id", "is not a tenant id"),))
        found = await door.lifecycle.withdrawals(caller, tenant)
        rows = [named(one.ref, one.tenant) | {"by": one.by, "at": one.at} for one in found]
        return web.Response(body=orjson.dumps({"withdrawals": rows}), content_type="application/json")


def target_of(request: web.Request, kind: Kind) -> Ref:
    """Return what the path names; what no server can be called, or can have, is not found (A18)."""
    ref = Ref(request.match_info["server"], kind, request.match_info["tool"])
    if not ref.is_possible:
        raise NotFound(f"no such server or {kind}")
    return ref


def meant(body: bytes) -> tuple[Kind, str | None]:
    """Return `kind` and `tenant_id` of an admin body: without a kind a tool is meant, without a tenant everybody.

    Raises InvalidBody.
    """
    if not body:
        return Kind.TOOL, None
    try:
        document = json.decode(body)
    except Malformed as error:
        raise InvalidBody((("", f"not JSON: {error}"),)) from error
    if not isinstance(document, dict):
        raise InvalidBody((("", "must be a JSON object"),))
    mistakes = [
        (name, f"is no field of this body; it has {' and '.join(FIELDS)}") for name in document if name not in FIELDS
    ]
    kind, tenant = document.get("kind", Kind.TOOL), document.get("tenant_id")
    if kind not in list(Kind):
        mistakes.insert(0, ("kind", f"must be one of {', '.join(Kind)}"))
    if tenant is not None and not (isinstance(tenant, str) and TENANT_ID.fullmatch(tenant)):
        mistakes.insert(0, ("tenant_id", "must be a tenant id (a non-empty string), or null for every tenant"))
    if mistakes:
        raise InvalidBody(tuple(mistakes[:MAX_MISTAKES]))
    return Kind(kind), tenant


def named(ref: Ref, tenant: str | None) -> dict[str, Any]:
    """Return how answers name a tool, a prompt or a resource, and a tenant."""
    return {"mcp_server": ref.server, ref.kind.value: ref.name, "tenant_id": tenant}


def answer(document: dict[str, Any], done: Done, headers: dict[str, str]) -> web.Response:
    """Return 200 when every counted replica enforces the revision, else 202 with the same body."""
    headers |= {"Portcullis-Revision": f"r{done.revision}", "Portcullis-Applied": str(done.applied)}
    status = 200 if done.applied.everywhere else 202
    return web.Response(status=status, body=orjson.dumps(document), content_type="application/json", headers=headers)
