"""The official Python client through the gateway, in both eras, to servers of the SDK and of both eras."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPDeprecationWarning

from tests.support.backend import FakeBackend, tool
from tests.support.gateway import MODERN, PATIENT, Portcullis, front_door
from tests.support.sdk_server import sdk_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.issuer import Issuer

MODES = ("legacy", "auto", MODERN)
SPOKEN = {"legacy": "2025-11-25", "auto": MODERN, MODERN: MODERN}
BIG = 2**70 + 1  # a float of that size is another number


@dataclass
class Shop:
    """A gateway in front of the demo server, one in the older way, and a recording server of each era."""

    gateway: Portcullis
    issuer: Issuer
    statuses: list[int] = field(default_factory=list)

    async def _note(self, response: httpx2.Response) -> None:
        self.statuses.append(response.status_code)

    @asynccontextmanager
    async def client(self, mode: str, tenant: str = "tenant:a", token: str | None = None) -> AsyncIterator[Client]:
        """Connect the official client with a tenant's bearer token; `statuses` has what it was answered."""
        bearer = token or self.issuer.mint(tenant_id=tenant)
        self.statuses.clear()
        hooks = {"response": [self._note]}
        async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {bearer}"}, event_hooks=hooks) as http:
            transport = streamable_http_client(f"{self.gateway.url}/mcp", http_client=http)
            async with Client(transport, mode=mode) as client:
                yield client


@pytest.fixture(scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> AsyncIterator[Shop]:
    fresh = FakeBackend(definitions=[tool("fresh", outputSchema={"type": "object"})])
    fresh.answer = lambda params: {
        "content": [{"type": "text", "text": "fresh"}],
        "structuredContent": {"echo": params["arguments"]},
    }
    older = FakeBackend(era="legacy", sessions=True, sse=True, definitions=[tool("older")])
    async with sdk_server() as payments, sdk_server(modern=False) as before, fresh.serve(), older.serve():
        member = {"tenant:a": {"deny_list": ["refund"]}, "tenant:b": {"allow_list": ["refund", "older"]}}
        kinds: dict[str, tuple[str, dict[str, object]]] = {
            "payments": (payments, {"deny_list": ["beta_tool"]}),
            "before": (before, {"allow_list": ["beta_tool"]}),
            "fresh": (fresh.url, {}),
            "older": (older.url, {}),
        }
        configured = {
            id_: {"mode": "remote", "endpoint": url, "tools": lists, "tool_access": {"member": member}}
            for id_, (url, lists) in kinds.items()
        }
        config = front_door("", issuer.url, mcp_servers=configured, opa=PATIENT)
        async with Portcullis(tmp_path_factory.mktemp("shop"), config) as gateway:
            yield Shop(gateway, issuer)


@pytest.mark.parametrize("mode", MODES)
async def test_the_official_client_lists_what_its_tenant_may_see(shop: Shop, mode: str) -> None:
    for tenant, seen in (
        ("tenant:a", ["beta_tool", "charge", "fresh", "legacy_charge", "older"]),
        ("tenant:b", ["older", "refund"]),
        ("tenant:c", []),
    ):
        async with shop.client(mode, tenant) as client:
            assert client.protocol_version == SPOKEN[mode]
            if mode != MODERN:  # told its version, the client asks nobody who is there
                assert client.server_info.name == "portcullis"
            listed = await client.list_tools()
            assert sorted(one.name for one in listed.tools) == seen
            assert all(one.input_schema["type"] == "object" for one in listed.tools)


@pytest.mark.parametrize("mode", MODES)
async def test_the_official_client_calls_what_it_lists_on_servers_of_every_kind(shop: Shop, mode: str) -> None:
    async with shop.client(mode) as client:
        for name, arguments, text in (
            ("charge", {"amount": BIG}, f"charged {BIG} EUR"),
            ("legacy_charge", {"amount": 2}, "charged 2 the old way"),
            ("beta_tool", {"note": "na\u00efve \u2028"}, "beta says na\u00efve \u2028"),
            ("older", {"x": 1}, "older done"),
            ("fresh", {"x": 1}, "fresh"),
        ):
            result = await client.call_tool(name, arguments)
            assert not result.is_error
            assert result.content[0].text.startswith(text)


@pytest.mark.parametrize("mode", MODES)
async def test_the_official_client_gets_structured_content_with_every_digit(shop: Shop, mode: str) -> None:
    async with shop.client(mode) as client:
        result = await client.call_tool("fresh", {"amount": BIG, "deep": [{"n": -BIG}]})
        assert result.structured_content == {"echo": {"amount": BIG, "deep": [{"n": -BIG}]}}
        result = await client.call_tool("charge", {"amount": 5})
        assert result.structured_content["result"].startswith("charged 5 EUR")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["refund", "no_such_tool", "payments/charge"])
async def test_the_official_client_is_told_of_an_unknown_tool_for_what_it_may_not_see(
    shop: Shop, mode: str, name: str
) -> None:
    async with shop.client(mode) as client:
        with pytest.raises(MCPError) as refused:
            await client.call_tool(name, {"receipt": 1})
    assert refused.value.error.code == -32602
    assert refused.value.error.message == f"Unknown tool: {name}"


@pytest.mark.parametrize("mode", MODES)
async def test_the_official_client_is_told_of_arguments_that_a_server_refuses(shop: Shop, mode: str) -> None:
    async with shop.client(mode) as client:
        result = await client.call_tool("charge", {"amount": "much"})
        assert result.is_error


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_official_client_does_not_get_in_with_a_bad_token(shop: Shop, mode: str) -> None:
    with pytest.raises(ExceptionGroup):
        async with shop.client(mode, token="a.b.c") as client:
            await client.list_tools()
    assert set(shop.statuses) == {401}


async def test_the_official_client_may_ping_in_the_older_era(shop: Shop) -> None:
    async with shop.client("legacy") as client:
        with pytest.warns(MCPDeprecationWarning):
            await client.send_ping()
    assert set(shop.statuses) <= {200, 202, 405}


async def test_the_official_client_hears_of_a_withdrawal_and_lists_again(shop: Shop) -> None:
    admin = await shop.gateway.key()
    async with shop.client(MODERN) as client, client.listen(tools_list_changed=True) as changes:
        assert changes.honored.tools_list_changed
        for verb, there in (("withdraw", False), ("restore", True)):
            reply = await shop.gateway.admin(f"fresh/fresh/{verb}", {"tenant_id": "tenant:a"}, key=admin)
            assert reply.status == 200
            await anext(changes)
            found = {tool.name for tool in (await client.list_tools()).tools}
            assert ("fresh" in found) is there
