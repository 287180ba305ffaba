"""Attacks on the running gateway; docs/threats.md says which test stands for which requirement."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from gateway.logs import JsonFormatter, TextFormatter
from tests.support.raw import exchange, request, status
from tests.support.wait import until

if TYPE_CHECKING:
    from tests.conftest import World
    from tests.support.gateway import Reply

LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
SECRETS = ("agent-secret-1", "agent-secret-2", "agent-secret-3")
SPOOFED = {
    "X_User": "root", "X_Remote_User": "root", "X_Forwarded_User": "root", "X_Auth_Request_Email": "root@x",
    "X_Forwarded_Access_Token": SECRETS[0], "X_Tenant": "tenant:b", "X_Amzn_Oidc_Data": SECRETS[0], "Via": "evil",
    "Forwarded": "for=1.2.3.4", "X_Real_IP": "1.2.3.4", "X_Client_Cert": "x", "Cookie": f"session={SECRETS[1]}",
    "Proxy_Authorization": f"Basic {SECRETS[2]}", "Last_Event_ID": "5",
    "X_Original_URL": "/api/admin", "X_Rewrite_URL": "/api/admin", "X_HTTP_Method_Override": "DELETE",
    "User_Agent": "evil/1", "Traceparent": "00-1-2-03",
}  # fmt: skip


@pytest.mark.parametrize("path", ["/tenant/{t}/mcp", "/tenant/{t}/servers/payments/mcp"])
@pytest.mark.parametrize("tenant", ["tenant:b", "tenant:c", "tenant:zzz", "tenant:A", "a", "*"])
async def test_a05_a_tenant_asserted_by_path_is_refused_alike_whether_it_exists_or_not(
    guarded: World, path: str, tenant: str
) -> None:
    before = len(guarded.backend.received)
    reply = await guarded.gateway.http(
        "POST", path.format(t=tenant), LIST, Authorization=f"Bearer {guarded.token('tenant:a')}"
    )
    assert (reply.status, reply.json["detail"]) == (403, "Access denied: the tenant is not the credential's")
    assert reply.json.keys() == {"type", "title", "status", "detail", "instance"}
    assert len(guarded.backend.received) == before


@pytest.mark.parametrize(
    "values", [["tenant:b"], ["tenant:zzz"], ["tenant:a", "tenant:b"], [""], ["tenant:a, tenant:b"]]
)
async def test_a05_a_tenant_asserted_by_header_is_refused_even_beside_the_true_one(
    guarded: World, values: list[str]
) -> None:
    lines = [f"X-Tenant-ID: {value}" for value in values]
    lines += ["Content-Type: application/json", f"Authorization: Bearer {guarded.token('tenant:a')}"]
    answer = await exchange(guarded.gateway.url, request("POST /mcp HTTP/1.1", *lines, body=json.dumps(LIST).encode()))
    assert status(answer) == 403


async def test_a05_a_tenant_named_anywhere_else_says_nothing(guarded: World) -> None:
    token = f"Bearer {guarded.token('tenant:a')}"
    hints = {"tenant": "tenant:b", "tenant_id": "tenant:b", "X-Tenant-ID": "tenant:b"}
    call = {"name": "refund", "arguments": hints, "tenant_id": "tenant:b", "_meta": hints}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    for path in ("/mcp?tenant_id=tenant:b&tenant=tenant:b", "/tenant/tenant:a/mcp"):
        reply = await guarded.gateway.http("POST", path, message, Authorization=token, X_Tenant_ID="tenant:a")
        assert reply.json["error"]["message"] == "Unknown tool: refund"
    lines = ["X_Tenant_ID: tenant:b", "Content-Type: application/json", f"Authorization: {token}"]
    sent = request("POST /mcp HTTP/1.1", *lines, body=json.dumps(message).encode())
    assert b"Unknown tool: refund" in await exchange(guarded.gateway.url, sent)


async def test_a12_answers_of_many_callers_with_one_id_at_once_are_never_mixed(world: World) -> None:
    world.backend.answer = lambda params: {
        "content": [], "structuredContent": params["arguments"], "resultType": "complete",
    }  # fmt: skip
    try:

        async def one(number: int) -> bool:
            tenant = f"tenant:{'ab'[number % 2]}"
            arguments = {"who": tenant, "number": number}
            reply = await world.gateway.call("charge", arguments, token=world.token(tenant))
            return bool(reply.json["result"]["structuredContent"] == arguments)

        assert all(await asyncio.gather(*(one(number) for number in range(200))))
    finally:
        world.backend.answer = None


async def test_a16_a_forwarded_address_counts_only_from_a_trusted_proxy_and_from_the_right(
    world: World, guarded: World
) -> None:
    forged = {"X_Forwarded_For": "203.0.113.66, 192.0.2.16", "X_Forwarded_Host": "evil.example.com"}
    for one, expected in ((world, "127.0.0.1"), (guarded, "192.0.2.16")):
        reply = await one.gateway.rpc("tools/list", token=one.token("tenant:a"), **forged, X_Forwarded_Uri="/health")
        assert reply.status == 200
        events = await one.gateway.events(source__request_id=reply.headers["X-Request-Id"])
        assert [event["source"]["ip"] for event in events] == [expected]


async def test_a17_a20_nothing_of_an_agents_headers_or_credentials_reaches_a_server(guarded: World) -> None:
    token = guarded.token("tenant:a")
    reply = await guarded.gateway.call("charge", {"amount": 1}, token=token, **SPOOFED)
    assert reply.json["result"]
    arrived = guarded.backend.calls[-1]
    ours = {"host", "content-type", "content-length", "accept", "accept-encoding", "user-agent"}
    ours |= {"mcp-protocol-version", "mcp-method", "mcp-name"}
    assert {name.lower() for name in arrived.headers} <= ours
    captured = str(list(arrived.headers.items())) + arrived.body.decode()
    for secret in (token, *SECRETS, "evil", "tenant:a", "user:jo"):
        assert secret not in captured


async def test_a24_no_call_that_begins_after_a_withdrawal_was_answered_reaches_the_server(world: World) -> None:
    token, begun, stop = world.token("tenant:b"), [], asyncio.Event()

    async def keep_calling() -> None:
        while not stop.is_set():
            started = time.monotonic()
            reply = await world.gateway.call("refund", token=token)
            begun.append((started, "result" in reply.json))

    callers = [asyncio.create_task(keep_calling()) for _ in range(4)]
    try:
        await until(lambda: sum(good for _, good in begun) > 10)
        body = {"tenant_id": "tenant:b"}
        reply = await world.gateway.admin("payments/refund/withdraw", body, key=world.admin_key)
        answered = time.monotonic()
        assert (reply.status, reply.headers["Portcullis-Applied"]) == (200, "1/1")
        await until(lambda: sum(started > answered for started, _ in begun) > 20)
        assert not any(good for started, good in begun if started > answered)
    finally:
        stop.set()
        await asyncio.gather(*callers)
        await world.gateway.admin("payments/refund/restore", None, key=world.admin_key)


CREDENTIALS: list[tuple[str, list[str], int]] = [
    ("twice Authorization", ["Authorization: Bearer {t}", "Authorization: Bearer {t}"], 400),
    ("good and bad", ["Authorization: Bearer {t}", "Authorization: Bearer x"], 400),
    ("token and key", ["Authorization: Bearer {t}", "X-API-Key: {k}"], 400),
    ("twice the key", ["X-API-Key: {k}", "X-API-Key: {k}"], 400),
    ("empty key beside a token", ["X-API-Key:", "Authorization: Bearer {t}"], 400),
    ("two in one line", ["Authorization: Bearer {t}, Bearer {t}"], 401),
    ("Basic", ["Authorization: Basic {t}"], 401),
    ("a token as key", ["X-API-Key: {t}"], 401),
    ("an underscore", ["X_API_Key: {k}"], 401),
    ("a key as token", ["Authorization: Bearer {k}"], 200),
    ("a token", ["authorization: bearer {t}"], 200),
]


@pytest.mark.parametrize(("kind", "lines", "expected"), CREDENTIALS, ids=[row[0] for row in CREDENTIALS])
async def test_a49_exactly_one_credential_in_a_header_is_taken(
    guarded: World, kind: str, lines: list[str], expected: int
) -> None:
    sent = [line.format(t=guarded.token("tenant:a"), k=guarded.admin_key) for line in lines]
    sent += ["Content-Type: application/json", "X-Forwarded-For: 192.0.2.49"]
    raw = request("POST /mcp HTTP/1.1", *sent, body=json.dumps(LIST).encode())
    assert status(await exchange(guarded.gateway.url, raw)) == expected


@pytest.mark.parametrize("name", ["access_token", "token", "api_key", "X-API-Key", "authorization", "ACCESS_TOKEN"])
async def test_a49_a_credential_in_the_query_is_refused_and_not_logged(guarded: World, name: str) -> None:
    token = guarded.token("tenant:a")
    reply = await guarded.gateway.http("POST", f"/mcp?{name}={token}", LIST, X_Forwarded_For="192.0.2.50")
    assert reply.status == 400
    assert token not in guarded.gateway.log


async def test_a58_a_servers_headers_stop_at_the_gateway(guarded: World) -> None:
    hostile = {
        "Set-Cookie": "a=b", "WWW-Authenticate": "Bearer evil", "Server": "evil/1", "X-Powered-By": "evil",
        "Mcp-Session-Id": "evil", "Access-Control-Allow-Origin": "*", "Location": "http://evil", "Link": "<x>",
        "Cache-Control": "public", "Portcullis-Revision": "r1", "Content-Security-Policy": "x",
    }  # fmt: skip

    async def misbehave(_: web.Request, message: Any) -> web.Response:
        result = {"content": [{"type": "text", "text": "a\n\ndata: b\r\n"}], "resultType": "complete"}
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": result}
        return web.json_response(answer, headers=hostile)

    guarded.backend.misbehave = misbehave
    try:
        reply = await guarded.gateway.call("charge", token=guarded.token("tenant:a"))
    finally:
        guarded.backend.misbehave = None
    assert reply.json["result"]["content"][0]["text"] == "a\n\ndata: b\r\n"
    assert "evil" not in str(list(reply.headers.items()))
    allowed = {"cache-control", "content-type", "content-length", "date", "server", "x-content-type-options"}
    assert {name.lower() for name in reply.headers} <= allowed | {"x-request-id"}
    assert reply.headers["Cache-Control"] == "private, no-store"


async def test_a60_a_list_may_be_stored_by_no_cache_on_the_way(world: World) -> None:
    for tenant in ("tenant:a", "tenant:b"):
        reply = await world.gateway.rpc("tools/list", token=world.token(tenant))
        assert reply.headers["Cache-Control"] == "private, no-store"
        assert "ETag" not in reply.headers


async def test_a61_nothing_that_is_published_comes_from_the_host_header(world: World) -> None:
    async def published(**sent: str) -> tuple[bytes, str]:
        document: Reply = await world.gateway.http("GET", "/.well-known/oauth-protected-resource", **sent)
        challenge: Reply = await world.gateway.rpc("tools/list", **sent)
        return document.body, challenge.headers["WWW-Authenticate"]

    forged = {"Host": "evil.example.com", "X_Forwarded_Host": "evil.example.com", "X_Forwarded_Proto": "gopher"}
    assert await published(**forged) == await published()


async def test_a62_what_strangers_write_cannot_forge_a_line_of_log_or_audit(guarded: World) -> None:
    evil = 'x\n{"level":"info","message":"forged"}\r\x1b[2J\u2028\u2029\x00\x85\u202e' + "y" * 5000
    reply = await guarded.gateway.call(evil, token=guarded.token("tenant:a"))
    assert reply.json["error"]["code"] == -32602
    await guarded.gateway.rpc("tools/list", token="x\u00e9".encode().decode("latin-1"), X_Tenant_ID="a\u2028b")
    events = await guarded.gateway.events(source__request_id=reply.headers["X-Request-Id"])
    assert events[0]["target"]["name"].startswith(evil[:50])
    assert len(events[0]["target"]["name"]) < 1000
    for raw in ((guarded.gateway.folder / "audit.jsonl").read_text(), guarded.gateway.log):
        assert raw.isascii()
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f]", raw)
        assert all(json.loads(line) for line in raw.splitlines() if not line.startswith("warning: "))


def test_a62_a_line_of_log_is_one_line_whoever_wrote_what_is_in_it() -> None:
    record = logging.makeLogRecord({"msg": "said %s", "args": ("a\nb\x1b[2J\u2028c\u202e",)})
    for formatter in (JsonFormatter(), TextFormatter()):
        line = formatter.format(record)
        assert len(line.splitlines()) == 1
        assert line.isprintable()
