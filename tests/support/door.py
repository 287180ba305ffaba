"""The gate alone, in this process: it says who was let in, and nothing behind it is reached."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from gateway.audit import AuditTrail
from gateway.endpoints.application import Onion, application
from gateway.endpoints.gate import Door, Gate
from gateway.endpoints.listener import Runner
from gateway.metrics import Metrics
from tests.support.listening import listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from gateway.authn import Authn
    from gateway.config import Config
    from gateway.model import AuditEvent


async def nowhere(_events: Sequence[AuditEvent]) -> None:
    """Keep no event."""


@dataclass
class GateAlone:
    """A client of the gate, and the events that were recorded."""

    client: aiohttp.ClientSession
    events: list[AuditEvent]


@asynccontextmanager
async def gate_alone(config: Config, authn: Authn) -> AsyncIterator[GateAlone]:
    """Serve the gate for agents at `/mcp` and `/tenant/…/mcp`, for operators at `/api` and `/tenant/…/servers`."""
    events: list[AuditEvent] = []
    door = Door(config, frozenset(), authn, *[None] * 7)  # type: ignore[arg-type]
    gate = Gate(lambda: door, AuditTrail(nowhere, observe=events.append))

    async def agent(request: web.Request) -> web.Response:
        who = (await gate.identify(request, gate.enter(request))).principal
        return web.json_response({"who": who.subject, "tenant": who.tenant, "acting_for": who.acting_for})

    async def operator(request: web.Request) -> web.Response:
        _, caller = await gate.operator(request)
        who = caller.principal
        return web.json_response({"who": who.subject, "tenant": who.tenant, "acting_for": who.acting_for})

    routes = [web.post("/mcp", agent), web.post("/tenant/{tenant}/mcp", agent)]
    routes += [web.post("/api", operator), web.post("/tenant/{tenant}/servers", operator)]
    onion = Onion(lambda: config, Metrics(lambda _: True), gate.refusals.malformed)
    runner = Runner(application(onion, routes))
    async with listening(runner) as url, aiohttp.ClientSession(url) as client:
        yield GateAlone(client, events)
