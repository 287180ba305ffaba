"""Headers that repeat arguments, as whoever stands before the gateway may have routed by them (2026-07-28)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.agents import ask
from tests.support.backend import FakeBackend, tool
from tests.support.gateway import MODERN, PATIENT, Portcullis, front_door

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.issuer import Issuer

SCHEMA = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}


@pytest.fixture(scope="module")
async def world(
    tmp_path_factory: pytest.TempPathFactory, issuer: Issuer
) -> AsyncIterator[tuple[Portcullis, FakeBackend]]:
    async with FakeBackend(definitions=[tool("charge", inputSchema=SCHEMA)]).serve() as server:
        config = front_door(server.url, issuer.url, opa=PATIENT)
        async with Portcullis(tmp_path_factory.mktemp("params"), config) as gateway:
            yield gateway, server


@pytest.mark.parametrize("line", ["eu", "=?base64?ZXU=?="])
async def test_a_call_whose_headers_repeat_its_arguments_is_passed_on(
    world: tuple[Portcullis, FakeBackend], issuer: Issuer, line: str
) -> None:
    gateway, server = world
    params = {"name": "charge", "arguments": {"region": "eu"}}
    token = issuer.mint(tenant_id="tenant:b")
    reply = await ask(gateway, MODERN, "tools/call", params, token=token, Mcp_Param_Region=line)
    assert (reply.status, server.calls[-1].headers["Mcp-Param-Region"]) == (200, "eu")


@pytest.mark.parametrize("line", ["", "us", "=?base64?dXM=?=", "=?base64?ZXU?="])
async def test_a_call_whose_headers_say_something_else_reaches_no_server(
    world: tuple[Portcullis, FakeBackend], issuer: Issuer, line: str
) -> None:
    gateway, server = world
    before = len(server.calls)
    params = {"name": "charge", "arguments": {"region": "eu"}}
    token = issuer.mint(tenant_id="tenant:b")
    reply = await ask(gateway, MODERN, "tools/call", params, token=token, Mcp_Param_Region=line)
    assert (reply.status, reply.json["error"]["code"]) == (400, -32020)
    assert len(server.calls) == before
    (event,) = await gateway.events(source__request_id=reply.headers["X-Request-Id"])
    assert (event["type"], event["reason"]) == ("AuthorizationDenied", "malformed_request")
    # To whom the tool does not exist, its headers do not either.
    unknown = await ask(
        gateway, MODERN, "tools/call", params, token=issuer.mint(tenant_id="tenant:unknown"), Mcp_Param_Region=line
    )
    assert (unknown.status, unknown.json["error"]["message"]) == (400, "Unknown tool: charge")


async def test_an_older_agent_sends_no_such_headers(world: tuple[Portcullis, FakeBackend], issuer: Issuer) -> None:
    gateway, server = world
    params = {"name": "charge", "arguments": {"region": "eu"}}
    reply = await ask(gateway, "2025-11-25", "tools/call", params, token=issuer.mint(tenant_id="tenant:b"))
    assert (reply.status, server.calls[-1].headers["Mcp-Param-Region"]) == (200, "eu")
