"""`/tenant/{id}/servers` and `/tenant/{id}/metrics`: what one tenant is offered, and the series that are its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from gateway.endpoints.ops import EXPOSITION
from gateway.ids import TENANT_ID

if TYPE_CHECKING:
    from gateway.endpoints.gate import Gate
    from gateway.metrics import Metrics
    from gateway.tenancy import Offering

HEADERS = {"Cache-Control": "private, no-store"}


@dataclass(frozen=True, slots=True)
class Tenants:
    """What is asked about one tenant, by its people, its keys, and whoever may act for it."""

    gate: Gate
    metrics: Metrics

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/tenant/{tenant}/servers", self.servers),
            web.get("/tenant/{tenant}/metrics", self.series),
        ]

    async def servers(self, request: web.Request) -> web.Response:
        """List the servers that a tenant is offered, and of each the tools that the caller may use."""
        door, caller = await self.gate.operator(request)
        tenant = tenant_of(request)
        offering = await door.tenancy.offering(caller, tenant)
        body = orjson.dumps(document(tenant, offering))
        return web.Response(body=body, content_type="application/json", headers=HEADERS)

    async def series(self, request: web.Request) -> web.Response:
        """The metrics of one tenant alone."""
        door, caller = await self.gate.operator(request)
        tenant = tenant_of(request)
        await door.tenancy.permit_metrics(caller, tenant)
        return web.Response(body=await self.metrics.exposition(tenant), headers=EXPOSITION)


def tenant_of(request: web.Request) -> str:
    """Return the tenant of the path, which the gate has held against the credential."""
    tenant = request.match_info["tenant"]
    if not TENANT_ID.fullmatch(tenant):
        raise web.HTTPNotFound
    return tenant


def document(tenant: str, offering: Offering) -> dict[str, Any]:
    """Return the answer; only an operator's has `collisions`."""
    servers = [
        {
            "id": one.id,
            "description": one.description,
            "mode": one.mode,
            "health": one.health,
            "tools": offering.tools[one.id],
        }
        for one in offering.servers
    ]
    found: dict[str, Any] = {"tenant": tenant, "servers": servers}
    if offering.collisions is not None:
        found["collisions"] = [{"name": name, "ids": ids} for name, ids in offering.collisions.items()]
    return found
