"""Both eras of MCP on one endpoint: the modern ladder, the older handshake without sessions, and what is closed."""

from __future__ import annotations

import base64
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import TOOLS
from tests.support.agents import EVERY_VERSION, LEGACY_VERSIONS, META, ask, headers, message
from tests.support.gateway import MODERN
from tests.support.raw import exchange, request, status

if TYPE_CHECKING:
    from tests.conftest import World
    from tests.support.gateway import Reply

NEXT = "2027-01-01"
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
SERVED = {
    "tools": {"listChanged": True},
    "prompts": {"listChanged": True},
    "resources": {"listChanged": True, "subscribe": True},
    "completions": {},
    "logging": {},
}
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"


def code(reply: Reply) -> int | None:
    return (reply.json or {}).get("error", {}).get("code")


async def test_a_modern_client_discovers_what_is_served(world: World) -> None:
    reply = await ask(world.gateway, MODERN, "server/discover", token=world.token("tenant:a"))
    assert reply.status == 200
    result = reply.json["result"]
    assert result["supportedVersions"] == list(EVERY_VERSION)
    assert result["capabilities"] == SERVED
    assert (result["resultType"], result["ttlMs"], result["cacheScope"]) == ("complete", 0, "private")
    assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "portcullis"


@pytest.mark.parametrize("method", ["tools/list", "tools/call", "server/discover"])
async def test_a_modern_result_says_its_type_and_its_server_and_nobody_may_keep_it(world: World, method: str) -> None:
    params = {"name": "charge", "arguments": {}} if method == "tools/call" else {}
    reply = await ask(world.gateway, MODERN, method, params, token=world.token("tenant:a"))
    assert reply.json["result"]["resultType"] == "complete"
    assert reply.json["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "portcullis"
    assert reply.headers["Cache-Control"] == "private, no-store"
    if method == "tools/list":
        assert (reply.json["result"]["ttlMs"], reply.json["result"]["cacheScope"]) == (0, "private")


RUNGS: list[tuple[str, dict[str, str], dict[str, Any], int, int]] = [
    ("no version in the header", {"MCP_Protocol_Version": ""}, {}, 400, -32020),
    ("another version in the header", {"MCP_Protocol_Version": "2026-07-29"}, {}, 400, -32020),
    ("an older version in the header", {"MCP_Protocol_Version": "2025-11-25"}, {}, 400, -32020),
    ("no method in the header", {"Mcp_Method": ""}, {}, 400, -32020),
    ("another method in the header", {"Mcp_Method": "tools/list"}, {}, 400, -32020),
    ("the method in another case", {"Mcp_Method": "Tools/Call"}, {}, 400, -32020),
    ("no name in the header", {"Mcp_Name": ""}, {}, 400, -32020),
    ("another name in the header", {"Mcp_Name": "refund"}, {}, 400, -32020),
    ("a broken sentinel", {"Mcp_Name": "=?base64?Y2hhcmdl!?="}, {}, 400, -32020),
    ("a sentinel without padding", {"Mcp_Name": "=?base64?Y2hhcmdlMQ?="}, {}, 400, -32020),
    ("no version in the body", {}, {"_meta": {VERSION_KEY: None}}, 400, -32602),
    ("no capabilities in the body", {}, {"_meta": {CAPABILITIES_KEY: None}}, 400, -32602),
    ("capabilities that are none", {}, {"_meta": {CAPABILITIES_KEY: []}}, 400, -32602),
    ("a version nobody knows", {"MCP_Protocol_Version": NEXT}, {"_meta": {VERSION_KEY: NEXT}}, 400, -32022),
]  # fmt: skip


@pytest.mark.parametrize(("rung", "sent", "changes", "http", "expected"), RUNGS, ids=[row[0] for row in RUNGS])
async def test_a15_a_modern_call_that_disagrees_with_its_headers_is_refused_and_reaches_nobody(
    world: World, rung: str, sent: dict[str, str], changes: dict[str, Any], http: int, expected: int
) -> None:
    before = len(world.backend.calls)
    params = {"name": "charge", "arguments": {}}
    meta = {name: value for name, value in (META | changes.get("_meta", {})).items() if value is not None}
    body = {"jsonrpc": "2.0", "id": "seven", "method": "tools/call", "params": params | {"_meta": meta}}
    lines = {name: value for name, value in (headers(MODERN, "tools/call", params) | sent).items() if value}
    token = world.token("tenant:a")
    reply = await world.gateway.http("POST", "/mcp", body, Authorization=f"Bearer {token}", **lines)
    assert (reply.status, code(reply), reply.json["id"]) == (http, expected, "seven")
    assert len(world.backend.calls) == before
    if expected == -32022:
        assert reply.json["error"]["data"] == {"supported": list(EVERY_VERSION), "requested": NEXT}


@pytest.mark.parametrize("twice", ["Mcp-Name: charge", "Mcp-Method: tools/call", f"MCP-Protocol-Version: {MODERN}"])
async def test_a15_a_routing_header_that_comes_twice_is_refused(world: World, twice: str) -> None:
    before = len(world.backend.calls)
    call = {"name": "charge", "arguments": {}}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers(MODERN, "tools/call", call).items()]
    lines += ["Content-Type: application/json", f"Authorization: Bearer {world.token('tenant:b')}"]
    body = json.dumps(message(MODERN, "tools/call", call)).encode()
    assert status(await exchange(world.gateway.url, request("POST /mcp HTTP/1.1", *lines, body=body))) == 200
    answer = await exchange(world.gateway.url, request("POST /mcp HTTP/1.1", *lines, twice, body=body))
    assert status(answer) == 400
    assert b"-32020" in answer
    assert len(world.backend.calls) == before + 1


async def test_a15_a_name_in_a_sentinel_is_decoded_before_it_is_compared(world: World) -> None:
    call = {"name": "charge", "arguments": {}}
    for name, served in (("charge", True), ("refund", False)):
        sentinel = f"=?base64?{base64.b64encode(name.encode()).decode()}?="
        reply = await ask(world.gateway, MODERN, "tools/call", call, token=world.token("tenant:b"), Mcp_Name=sentinel)
        assert (code(reply) is None) is served


async def test_a15_the_body_alone_is_decided_on(world: World) -> None:
    """An older client's stray routing headers choose nothing: what disagrees is refused, what agrees is served."""
    token, call = world.token("tenant:a"), {"name": "refund", "arguments": {}}
    before = len(world.backend.calls)
    for version in (*LEGACY_VERSIONS, ""):
        reply = await world.gateway.call(
            "refund", token=token, MCP_Protocol_Version=version or "2025-06-18", Mcp_Name="charge"
        )
        assert code(reply) == -32020
    reply = await ask(world.gateway, MODERN, "tools/call", call, token=token)
    assert reply.json["error"] == {"code": -32602, "message": "Unknown tool: refund"}
    assert len(world.backend.calls) == before


async def test_the_accept_header_must_leave_room_for_an_answer(world: World) -> None:
    token = world.token("tenant:a")
    assert (await world.gateway.rpc("tools/list", token=token, Accept="text/html")).status == 406
    assert (await world.gateway.rpc("tools/list", token=token, Accept="*/*")).status == 200


@pytest.mark.parametrize("asked", [*LEGACY_VERSIONS, "2024-11-05", MODERN, "1999-01-01", None, 5])
async def test_a_handshake_opens_a_session_and_echoes_an_older_version_that_is_served(world: World, asked: Any) -> None:
    hello = {"protocolVersion": asked, "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
    reply = await world.gateway.rpc("initialize", hello, token=world.token("tenant:a"))
    assert reply.status == 200
    expected = asked if asked in LEGACY_VERSIONS else "2025-11-25"
    assert reply.json["result"]["protocolVersion"] == expected
    assert reply.json["result"]["capabilities"] == SERVED
    session = reply.headers["Mcp-Session-Id"]
    assert session.isascii()
    assert session.isprintable()
    assert len(session) < 1000


@pytest.mark.parametrize("version", [*LEGACY_VERSIONS, "2024-11-05", ""])
async def test_an_older_client_needs_no_session(world: World, version: str) -> None:
    lines = {"MCP_Protocol_Version": version} if version else {}
    reply = await world.gateway.rpc("tools/list", token=world.token("tenant:a"), **lines)
    assert [tool["name"] for tool in reply.json["result"]["tools"]] == ["charge"]
    assert reply.json["result"].keys() == {"tools"}
    pong = await world.gateway.rpc("ping", token=world.token("tenant:a"), **lines)
    assert (pong.status, pong.json["result"]) == (200, {})


@pytest.mark.parametrize("version", EVERY_VERSION)
@pytest.mark.parametrize("method", ["notifications/initialized", "notifications/cancelled", "notifications/anything"])
async def test_a_notification_is_accepted_without_a_body(world: World, version: str, method: str) -> None:
    reply = await world.gateway.http(
        "POST", "/mcp", {"jsonrpc": "2.0", "method": method},
        Authorization=f"Bearer {world.token('tenant:a')}", MCP_Protocol_Version=version,
    )  # fmt: skip
    assert (reply.status, reply.body) == (202, b"")


@pytest.mark.parametrize("version", EVERY_VERSION)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("path", ["/mcp", "/tenant/tenant:a/mcp", "/tenant/tenant:a/servers/payments/mcp"])
async def test_without_a_session_there_is_no_stream_to_join_and_none_to_end(
    world: World, version: str, method: str, path: str
) -> None:
    reply = await world.gateway.http(
        method, path, Authorization=f"Bearer {world.token('tenant:a')}", MCP_Protocol_Version=version
    )
    assert (reply.status, reply.headers["Allow"]) == (405, "POST")


LEGACY_ONLY = ("initialize", "ping", "resources/subscribe", "resources/unsubscribe")
MODERN_ONLY = ("server/discover", "subscriptions/listen")
CLOSED = [
    "resources", "resources/templates", "prompts/call", "resources/get", "prompts/List", "completion", "tasks/list",
    "tasks/get", "tasks/result", "tasks/update", "tasks/cancel", "roots/list", "sampling/createMessage",
    "elicitation/create", "tools/List", "tools", "tools/call/", "rpc.discover", "__class__", "",
]  # fmt: skip


@pytest.mark.parametrize("version", EVERY_VERSION)
@pytest.mark.parametrize("method", CLOSED)
async def test_a09_a_method_that_is_in_no_table_is_closed(world: World, version: str, method: str) -> None:
    before = len(world.backend.passed_on)
    params = {"uri": "x://y", "name": "charge", "taskId": "1"}
    reply = await ask(world.gateway, version, method, params, token=world.token("tenant:b"))
    if not method and version == MODERN:
        assert code(reply) == -32020  # an empty header line is as good as none
    else:
        assert (reply.status, code(reply)) == (404 if version == MODERN else 200, -32601)
    assert len(world.backend.passed_on) == before


@pytest.mark.parametrize(
    ("version", "method"),
    [*((MODERN, method) for method in LEGACY_ONLY), *(("2025-11-25", method) for method in MODERN_ONLY)],
)
async def test_a_method_of_the_other_era_is_closed(world: World, version: str, method: str) -> None:
    reply = await ask(world.gateway, version, method, token=world.token("tenant:a"))
    assert code(reply) == -32601


@pytest.mark.parametrize("version", EVERY_VERSION)
@pytest.mark.parametrize(
    ("tenant", "seen"), [("tenant:a", ["charge"]), ("tenant:b", ["charge", "refund"]), ("tenant:c", []), (None, [])]
)
async def test_a10_every_revision_is_denied_the_same(
    world: World, version: str, tenant: str | None, seen: list[str]
) -> None:
    token = world.token(tenant)
    listed = await ask(world.gateway, version, "tools/list", token=token)
    assert [tool["name"] for tool in listed.json["result"]["tools"]] == seen
    for name in (*TOOLS, "no_such_tool"):
        before = len(world.backend.calls)
        reply = await ask(world.gateway, version, "tools/call", {"name": name, "arguments": {}}, token=token)
        if name in seen:
            assert reply.json["result"]["content"]
        else:
            assert reply.json["error"] == {"code": -32602, "message": f"Unknown tool: {name}"}
            assert reply.status == (400 if version == MODERN else 200)
        assert len(world.backend.calls) - before == (name in seen)


EVERY_REVISION = (*EVERY_VERSION, "2024-11-05", "2099-01-01", "x", "")


@pytest.mark.parametrize("version", EVERY_REVISION)
async def test_a10_no_revision_gets_past_authentication(guarded: World, version: str) -> None:
    before, customers = len(guarded.backend.passed_on), itertools.count()
    for token in (None, "x.y.z"):
        for method in (
            "initialize",
            "ping",
            "tools/list",
            "tools/call",
            "server/discover",
            "notifications/initialized",
        ):
            params = {"name": "charge", "arguments": {}}
            address = f"2001:db8:{EVERY_REVISION.index(version):x}:{next(customers):x}::10"
            reply = await ask(guarded.gateway, version, method, params, token=token, X_Forwarded_For=address)
            assert reply.status == 401
    assert len(guarded.backend.passed_on) == before
