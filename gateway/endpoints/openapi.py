"""`/api/v1/openapi.json`: the contract itself, for anybody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from gateway.endpoints.contract import Contract
    from gateway.endpoints.gate import Gate

PATH = "/api/v1/openapi.json"


@dataclass(frozen=True, slots=True)
class OpenApi:
    """The route of the contract."""

    gate: Gate
    contract: Contract

    def routes(self) -> list[web.RouteDef]:
        """Return the route."""
        return [web.get(PATH, self.show)]

    async def show(self, request: web.Request) -> web.Response:
        """Return the contract."""
        self.gate.enter(request)
        headers = {"Cache-Control": "max-age=300"}
        return web.Response(body=self.contract.encoded, content_type="application/json", headers=headers)
