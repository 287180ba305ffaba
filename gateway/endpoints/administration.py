"""Every route of the admin API, in one list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.endpoints.admin import Admin
from gateway.endpoints.contract import Contract
from gateway.endpoints.entry import Reception
from gateway.endpoints.openapi import OpenApi
from gateway.endpoints.operations import Operations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web

    from gateway.endpoints.gate import Gate


class Endpoint(Protocol):
    """Some routes."""

    def routes(self) -> list[web.RouteDef]:
        """Return them."""


def admin_api(gate: Gate) -> Sequence[Endpoint]:
    """Return what answers on the administration, all of it held to the contract that comes with the product."""
    contract = Contract.read()
    reception = Reception(gate, contract)
    return (Admin(reception), Operations(reception), OpenApi(gate, contract))
