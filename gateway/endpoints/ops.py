"""Health and metrics. The health routes say yes or no and nothing that an attacker could use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from gateway.model import CredentialKind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.endpoints.gate import Gate
    from gateway.metrics import Metrics

EXPOSITION = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class Ops:
    """`ready` returns what is not ready, by a word each; none of it means ready."""

    gate: Gate
    metrics: Metrics
    ready: Callable[[], Awaitable[tuple[str, ...]]]
    drifted: Callable[[], bool]

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the public listener."""
        return [*self.health_routes(), web.get("/metrics", self.metrics_for_a_reader)]

    def health_routes(self) -> list[web.RouteDef]:
        """Return the health routes."""
        return [web.get("/health/live", self.live), web.get("/health/ready", self.readiness)]

    def private_routes(self) -> list[web.RouteDef]:
        """Return the routes of a metrics listener of its own, which only operators can reach."""
        return [*self.health_routes(), web.get("/metrics", self.metrics_for_anyone)]

    async def live(self, _request: web.Request) -> web.Response:
        """The process answers."""
        return web.json_response({"status": "live"})

    async def readiness(self, _request: web.Request) -> web.Response:
        """200 when decisions can be had and every server was listed once or given up on, else 503.

        `drift` says that OPA decides by another configuration than this gateway's; that alone makes nobody unready.
        """
        missing = await self.ready()
        status = "not ready" if missing else "ready"
        body = orjson.dumps({"status": status, "waiting_for": list(missing), "drift": self.drifted()})
        return web.Response(status=503 if missing else 200, body=body, content_type="application/json")

    async def metrics_for_a_reader(self, request: web.Request) -> web.Response:
        """Metrics for whoever policy grants `metrics:read` globally (A63)."""
        door = self.gate.enter(request)
        caller = await self.gate.identify(request, door)
        if caller.principal.kind is CredentialKind.ANONYMOUS:
            raise web.HTTPNotFound
        await door.lifecycle.permit(caller, "metrics:read")
        return web.Response(body=await self.metrics.exposition(), headers=EXPOSITION)

    async def metrics_for_anyone(self, _request: web.Request) -> web.Response:
        """Metrics on their own listener."""
        return web.Response(body=await self.metrics.exposition(), headers=EXPOSITION)
