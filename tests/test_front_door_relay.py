"""What passes through unharmed between agents and servers of either era, and what a client that hangs up stops."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from tests.support.agents import EVERY_VERSION, ask, headers, message
from tests.support.backend import FakeBackend
from tests.support.gateway import MODERN, PATIENT, Portcullis, front_door
from tests.support.raw import connected, request
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.issuer import Issuer

HUGE = 2**70 + 1  # a float of that size is another number
# Every value here is one that some decoder rounds, reorders, drops or rewrites.
SCHEMA = (
    b'{"type":"object","x-order":2,"properties":{"amount":{"type":"integer","maximum":1180591620717411303424},'
    b'"rate":{"type":"number","multipleOf":1.10,"default":1E2}},"required":["amount"],'
    b'"$comment":"caf\\u00e9 \\/ \\ud83d\\ude00"}'
)
EXTRAS = b'"title":"T","icons":[{"src":"https://x/i.png"}],"annotations":{"readOnlyHint":true},"x-vendor":{"n":-0.0}'
RESULT = (
    b'"content":[{"type":"text","text":"ok","annotations":{"x":1.0}},{"type":"x-unknown","data":[1E2]}],'
    b'"structuredContent":{"total":1180591620717411303424,"rate":1.10,"z":1,"a":2},"x-vendor":{"keep":[1e400]}'
)


def definition(name: str) -> bytes:
    return b'{"name":"%b","inputSchema":%b,"outputSchema":{"type":"object"},%b}' % (name.encode(), SCHEMA, EXTRAS)


@dataclass
class Relay:
    """A gateway in front of one server of each era; their tools are called `modern` and `legacy`."""

    gateway: Portcullis
    servers: dict[str, FakeBackend]
    token: str


@pytest.fixture(scope="module")
async def relay(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> AsyncIterator[Relay]:
    servers = {era: FakeBackend(era=era, definitions=[definition(era)]) for era in ("modern", "legacy")}
    async with servers["modern"].serve(), servers["legacy"].serve():
        configured = {
            era: {"mode": "remote", "endpoint": server.url, "tool_access": {"member": {"tenant:a": {}}}}
            for era, server in servers.items()
        }
        config = front_door("", issuer.url, mcp_servers=configured, opa=PATIENT)
        async with Portcullis(tmp_path_factory.mktemp("relay"), config) as gateway:
            yield Relay(gateway, servers, issuer.mint(tenant_id="tenant:a"))


@pytest.mark.parametrize("version", EVERY_VERSION)
async def test_a_definition_reaches_every_agent_with_every_byte_of_its_members(relay: Relay, version: str) -> None:
    reply = await ask(relay.gateway, version, "tools/list", token=relay.token)
    assert [tool["name"] for tool in reply.json["result"]["tools"]] == ["legacy", "modern"]
    assert reply.body.count(SCHEMA) == 2
    for member in EXTRAS.split(b',"'):
        assert reply.body.count(member) == 2


@pytest.mark.parametrize("version", EVERY_VERSION)
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_result_reaches_every_agent_with_every_byte_of_its_members(
    relay: Relay, version: str, era: str
) -> None:
    kind = b'"resultType":"complete",' if era == "modern" else b""
    relay.servers[era].answer = lambda params: b"{" + kind + RESULT + b"}"
    try:
        reply = await ask(relay.gateway, version, "tools/call", {"name": era, "arguments": {}}, token=relay.token)
    finally:
        relay.servers[era].answer = None
    assert reply.status == 200
    content, _, rest = RESULT.partition(b',"structuredContent":')
    structured, _, vendor = rest.partition(b',"x-vendor":')
    for part in (content, structured, vendor):
        assert part in reply.body


@pytest.mark.parametrize("version", EVERY_VERSION)
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_arguments_reach_every_server_as_the_agent_sent_them(relay: Relay, version: str, era: str) -> None:
    arguments = {
        "amount": HUGE,
        "minus": -HUGE,
        "rate": 0.1,
        "deep": [[{"a": None}]],
        "": "",
        "na\u00efve": "\U0001f600\u2028",
    }
    arguments |= {"Name": "refund", "__proto__": {"x": 1}, "order": {"z": 1, "a": 2}}
    meta = {"traceparent": "00-1-2-03", "tracestate": "a=1", "baggage": "user=jo"}
    meta |= {"com.example/big": HUGE, "progressToken": "p"}
    sent = {"name": era, "arguments": arguments, "_meta": meta}
    for id_ in ("text", 70_007, HUGE):
        reply = await ask(relay.gateway, version, "tools/call", sent, token=relay.token, id_=id_)
        assert reply.json["id"] == id_
        assert type(reply.json["id"]) is type(id_)
        arrived = relay.servers[era].calls[-1].message
        assert json.dumps(arrived["params"]["arguments"]) == json.dumps(arguments)
        assert str(HUGE).encode() in relay.servers[era].calls[-1].body
        assert arrived["params"]["_meta"]["com.example/big"] == HUGE
        # Without traces of the gateway's own, the agent's goes on; what it says of its user does not.
        assert arrived["params"]["_meta"]["traceparent"] == "00-1-2-03"
        assert arrived["params"]["_meta"]["tracestate"] == "a=1"
        assert "baggage" not in arrived["params"]["_meta"]
        assert arrived["id"] != id_


@pytest.mark.parametrize("version", EVERY_VERSION)
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_servers_own_error_arrives_and_one_that_speaks_of_the_gateway_is_translated(
    relay: Relay, version: str, era: str
) -> None:
    async def fails(request: Any, posted: Any) -> Any:
        if posted["method"] != "tools/call":
            return None
        fault = {"code": codes[0], "message": "no", "data": {"n": HUGE}}
        return web.json_response({"jsonrpc": "2.0", "id": posted["id"], "error": fault})

    relay.servers[era].misbehave = fails
    try:
        for codes in ((-32000, -32000), (1234, 1234), (-32002, -32602), (-32042, -32603)):
            reply = await ask(relay.gateway, version, "tools/call", {"name": era, "arguments": {}}, token=relay.token)
            assert reply.json["error"]["code"] == codes[1]
            if codes[0] == codes[1]:
                assert reply.json["error"]["data"] == {"n": HUGE}
    finally:
        relay.servers[era].misbehave = None


@pytest.mark.parametrize("version", EVERY_VERSION)
async def test_what_a_server_asks_of_its_client_is_a_clean_error_that_names_the_server(
    relay: Relay, version: str
) -> None:
    asks = b'{"resultType":"input_required","inputRequests":{"k":{"method":"elicitation/create","params":{}}}}'
    relay.servers["modern"].answer = lambda params: asks
    try:
        reply = await ask(relay.gateway, version, "tools/call", {"name": "modern", "arguments": {}}, token=relay.token)
    finally:
        relay.servers["modern"].answer = None
    assert reply.json["error"]["code"] == 50200
    assert reply.json["error"]["message"].startswith("Server modern:")
    declared = (
        relay.servers["modern"].calls[-1].message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"]
    )
    assert declared == {}


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_sixty_four_calls_wait_at_a_slow_server_together_and_not_for_each_other(relay: Relay, era: str) -> None:
    server = relay.servers[era]
    server.delay = asyncio.Event()
    before = len(server.calls)
    calls = [asyncio.ensure_future(relay.gateway.call(era, token=relay.token)) for _ in range(64)]
    try:
        await until(lambda: len(server.calls) == before + 64)
        assert not any(call.done() for call in calls)
    finally:
        server.delay.set()
        server.delay = None
    assert {reply.status for reply in await asyncio.gather(*calls)} == {200}


@asynccontextmanager
async def held_call(relay: Relay, version: str, era: str) -> AsyncIterator[FakeBackend]:
    """Call a tool whose server does not answer yet, and hang up when the call has arrived there."""
    server = relay.servers[era]
    server.delay = asyncio.Event()
    before, params = len(server.calls), {"name": era, "arguments": {}}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers(version, "tools/call", params).items()]
    lines += ["Content-Type: application/json", f"Authorization: Bearer {relay.token}"]
    body = json.dumps(message(version, "tools/call", params)).encode()
    try:
        async with connected(relay.gateway.url) as (_, writer):
            writer.write(request("POST /mcp HTTP/1.1", *lines, body=body))
            await until(lambda: len(server.calls) > before)
        for _ in range(3):
            # What is answered now was read after the end of that connection.
            assert (await relay.gateway.rpc("ping", token=relay.token)).status == 200
        yield server
    finally:
        server.delay.set()
        server.delay = None


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_modern_client_that_hangs_up_stops_the_server_and_leaves_its_event(relay: Relay, era: str) -> None:
    aborted = relay.servers[era].aborted
    async with held_call(relay, MODERN, era) as server:
        await until(lambda: server.aborted > aborted)
    if era == "legacy":
        # A closed connection says nothing there, so the server is told.
        await until(lambda: server.of("notifications/cancelled"))
        assert server.of("notifications/cancelled")[-1].message["params"]["requestId"] == server.calls[-1].message["id"]
    assert await relay.gateway.events(type="ToolCalled", reason="cancelled", target__server=era)


@pytest.mark.parametrize("version", EVERY_VERSION[1:])
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_an_older_client_that_hangs_up_stops_nothing(relay: Relay, version: str, era: str) -> None:
    aborted = relay.servers[era].aborted
    before = len(await finished(relay, era))
    async with held_call(relay, version, era) as server:
        pass

    async def finishes() -> bool:
        return len(await finished(relay, era)) > before

    await until(finishes)
    assert server.aborted == aborted


async def finished(relay: Relay, era: str) -> list[dict[str, Any]]:
    """Return the events so far of calls that a server answered."""
    return await relay.gateway.events_by_now(type="ToolCalled", outcome="success", target__server=era)
