"""What bad requests get before anybody is believed: hosts, origins, media types, encodings, sizes, raw bytes."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import pytest

from gateway.config import load
from gateway.endpoints.application import preflight
from tests.conftest import GUARD
from tests.support.files import written
from tests.support.raw import exchange, request, status

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import World

LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
LIMIT = int(str(GUARD["max_body_bytes"]))
ORIGIN = "https://app.example.com"


def bearer(world: World, tenant: str = "tenant:a") -> str:
    return f"Bearer {world.token(tenant)}"


def padded(size: int) -> bytes:
    """Return a good list request of exactly so many bytes."""
    bare = len(json.dumps({**LIST, "params": {"pad": ""}}))
    return json.dumps({**LIST, "params": {"pad": "x" * (size - bare)}}).encode()


@pytest.mark.parametrize("host", ["evil.example.com", "127.0.0.1.evil.example.com", "gateway.example.com.", ""])
@pytest.mark.parametrize("path", ["/mcp", "/api/admin/tools/payments/charge/withdraw"])
async def test_a_foreign_host_is_misdirected_whoever_asks(guarded: World, host: str, path: str) -> None:
    reply = await guarded.gateway.http("POST", path, LIST, Host=host, X_API_Key=guarded.admin_key)
    assert reply.status == 421
    assert reply.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("host", ["gateway.example.com", "GATEWAY.example.com:8443", "127.0.0.1:1"])
async def test_a_configured_host_is_served_on_any_port_and_in_any_case(guarded: World, host: str) -> None:
    assert await guarded.gateway.tools(guarded.token("tenant:a"), Host=host) == ["charge"]


@pytest.mark.parametrize(
    "origin", ["https://evil.example.com", "null", "http://app.example.com", f"{ORIGIN}:8443", "x"]
)
@pytest.mark.parametrize("path", ["/mcp", "/api/admin/tools/payments/charge/withdraw", "/metrics"])
async def test_a37_a_foreign_origin_is_forbidden_with_good_credentials_too(
    guarded: World, origin: str, path: str
) -> None:
    method = "GET" if path == "/metrics" else "POST"
    reply = await guarded.gateway.http(method, path, Origin=origin, X_API_Key=guarded.admin_key)
    assert reply.status == 403
    assert "Access-Control-Allow-Origin" not in reply.headers
    assert await guarded.gateway.tools(guarded.token("tenant:a")) == ["charge"]


async def test_without_configured_origins_every_origin_is_foreign_and_every_host_is_known(world: World) -> None:
    token = world.token("tenant:a")
    assert (await world.gateway.rpc("tools/list", token=token, Origin="http://localhost")).status == 403
    assert await world.gateway.tools(token, Host="anything.example.com") == ["charge"]


async def test_a59_a_preflight_of_a_configured_origin_is_answered_before_authentication(guarded: World) -> None:
    asked = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "authorization, mcp-method"}
    reply = await guarded.gateway.http("OPTIONS", "/mcp", Origin=ORIGIN, **asked)
    assert reply.status == 204
    assert reply.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "POST" in reply.headers["Access-Control-Allow-Methods"]
    allowed = {name.strip().lower() for name in reply.headers["Access-Control-Allow-Headers"].split(",")}
    assert allowed >= {"authorization", "content-type", "mcp-protocol-version", "mcp-method", "mcp-name", "x-api-key"}
    assert "Access-Control-Allow-Credentials" not in reply.headers


def test_a59_a_preflight_names_the_header_that_is_configured_for_api_keys(tmp_path: Path) -> None:
    config = load(written(tmp_path, "auth: {api_key: {header_name: X-Gateway-Key}}\n")).config
    assert "X-Gateway-Key" in preflight(config)["Access-Control-Allow-Headers"].split(", ")


async def test_a59_a_preflight_of_a_foreign_origin_is_told_nothing(guarded: World) -> None:
    reply = await guarded.gateway.http("OPTIONS", "/mcp", Origin="https://evil.example.com")
    assert reply.status in (403, 405)
    assert not [name for name in reply.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize("good", [True, False])
async def test_a59_a_page_of_a_configured_origin_may_read_answers_and_challenges(guarded: World, good: bool) -> None:
    token = guarded.token("tenant:a") if good else None
    reply = await guarded.gateway.rpc("tools/list", token=token, Origin=ORIGIN, X_Forwarded_For="192.0.2.59")
    assert reply.status == (200 if good else 401)
    assert reply.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "WWW-Authenticate" in reply.headers["Access-Control-Expose-Headers"]
    assert "Origin" in reply.headers["Vary"]


@pytest.mark.parametrize(
    "media", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "text/json", "", "json", "*/*"]
)
@pytest.mark.parametrize("path", ["/mcp", "/api/admin/tools/payments/charge/withdraw"])
async def test_a_body_that_is_no_json_by_its_media_type_is_refused(guarded: World, media: str, path: str) -> None:
    reply = await guarded.gateway.http("POST", path, LIST, Content_Type=media, X_API_Key=guarded.admin_key)
    assert reply.status == 415


@pytest.mark.parametrize("media", ["application/json", "Application/JSON", "application/json; charset=utf-8"])
async def test_json_is_known_in_any_spelling_of_its_media_type(guarded: World, media: str) -> None:
    reply = await guarded.gateway.http("POST", "/mcp", LIST, Content_Type=media, Authorization=bearer(guarded))
    assert reply.status == 200


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate", "gzip, gzip", "identity, gzip", "x"])
@pytest.mark.parametrize("path", ["/mcp", "/api/admin/tools/payments/charge/withdraw"])
async def test_a38_an_encoded_body_is_refused_unread(guarded: World, coding: str, path: str) -> None:
    body = gzip.compress(json.dumps(LIST).encode())
    reply = await guarded.gateway.http("POST", path, body, Content_Encoding=coding, X_API_Key=guarded.admin_key)
    assert reply.status == 415


async def test_a38_a_second_encoding_does_not_hide_behind_the_first(guarded: World) -> None:
    lines = ["Content-Type: application/json", "Content-Encoding: identity", "Content-Encoding: gzip"]
    sent = request("POST /mcp HTTP/1.1", f"X-API-Key: {guarded.admin_key}", *lines, body=gzip.compress(b"{}"))
    assert status(await exchange(guarded.gateway.url, sent)) == 415


@pytest.mark.parametrize(("size", "expected"), [(LIMIT - 1, 200), (LIMIT, 200), (LIMIT + 1, 413), (4 * LIMIT, 413)])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a43_a_body_is_read_up_to_the_configured_size_and_no_further(
    guarded: World, size: int, expected: int, chunked: bool
) -> None:
    """A length that is not declared is counted (A07)."""
    body, lines = padded(size), [f"Authorization: {bearer(guarded)}", "Content-Type: application/json"]
    if chunked:
        sent = request("POST /mcp HTTP/1.1", *lines, "Transfer-Encoding: chunked")
        sent += b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:100], body[100:])) + b"0\r\n\r\n"
    else:
        sent = request("POST /mcp HTTP/1.1", *lines, body=body)
    assert status(await exchange(guarded.gateway.url, sent)) == expected


async def test_a43_a_declared_length_beyond_the_size_is_refused_before_a_byte_of_it(guarded: World) -> None:
    sent = request("POST /mcp HTTP/1.1", "Content-Length: 1000000000000", "Content-Type: application/json")
    assert status(await exchange(guarded.gateway.url, sent)) == 413


@pytest.mark.parametrize(("length", "expected"), [(8100, 401), (8300, 400), (100_000, 400)])
async def test_a43_a_header_line_has_a_bound(guarded: World, length: int, expected: int) -> None:
    sent = request("POST /mcp HTTP/1.1", "X-Pad: " + "x" * length, "X-Forwarded-For: 192.0.2.43")
    assert status(await exchange(guarded.gateway.url, sent)) == expected


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("two lengths", request("POST /mcp HTTP/1.1", "Content-Length: 1", "Content-Length: 2")),
        ("length and chunks", request("POST /mcp HTTP/1.1", "Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
        ("signed length", request("POST /mcp HTTP/1.1", "Content-Length: +1")),
        ("folded line", request("POST /mcp HTTP/1.1", "X-A: a\r\n b")),
        ("space before colon", request("POST /mcp HTTP/1.1", "Authorization : Bearer x")),
        ("NUL", request("POST /mcp HTTP/1.1", "X-A: a\0b")),
        ("two hosts", request("POST /mcp HTTP/1.1", "Host: gateway.example.com")),
        ("no host", b"POST /mcp HTTP/1.1\r\nConnection: close\r\n\r\n"),
        ("lower-case method", request("post /mcp HTTP/1.1")),
        ("no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
        ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ],
)
async def test_a_request_that_two_servers_could_read_differently_is_refused(
    guarded: World, name: str, sent: bytes
) -> None:
    answer = await exchange(guarded.gateway.url, sent)
    assert status(answer) == 400
    assert b"application/problem+json" in answer
    assert b"aiohttp" not in answer


async def test_a36_a_request_that_cannot_be_read_is_neither_echoed_nor_logged(guarded: World) -> None:
    secret = guarded.token("tenant:a")
    said = len(guarded.gateway.log)
    sent = request("POST /mcp HTTP/1.1", f"Authorization: Bearer {secret}\0")
    answer = await exchange(guarded.gateway.url, sent)
    assert status(answer) == 400
    assert secret not in answer.decode()
    assert guarded.gateway.log[said:] == ""


@pytest.mark.parametrize("path", ["/mcp", "/health/live", "/metrics", "/nowhere"])
async def test_what_is_not_http_1_1_is_told_so_whatever_it_asks_for(guarded: World, path: str) -> None:
    for sent in (
        f"GET {path}\r\n\r\n".encode(),
        request(f"GET {path} HTTP/1.0"),
        request(f"OPTIONS {path} HTTP/1.0", f"Origin: {ORIGIN}"),
        request(f"GET {path} HTTP/2.0"),
    ):
        answer = await exchange(guarded.gateway.url, sent)
        assert status(answer) == 505
        assert b"HTTP/1.1 is required" in answer


async def test_a_client_that_asks_before_it_sends_is_told_to_go_on(guarded: World) -> None:
    body = json.dumps(LIST).encode()
    lines = ["Content-Type: application/json", f"Authorization: {bearer(guarded)}"]
    sent = request("POST /mcp HTTP/1.1", "Expect: 100-continue", *lines, body=body)
    answer = await exchange(guarded.gateway.url, sent)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    answer = await exchange(guarded.gateway.url, request("POST /mcp HTTP/1.1", "Expect: a miracle", *lines, body=body))
    assert status(answer) == 417
    assert b"application/problem+json" in answer


async def test_a_probe_needs_no_more_than_http_1_1_and_some_host(guarded: World) -> None:
    probe = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert status(await exchange(guarded.gateway.url, probe)) == 200


@pytest.mark.parametrize(
    "target",
    [
        "/health/../mcp",
        "/.well-known/oauth-protected-resource/../../mcp",
        "//mcp",
        "/mcp/",
        "/mcp;x",
        "/mcp%2f",
        "/mcp#/health/live",
        "/mcp?/health/live",
        "/%6dcp",
        "/health/live/../../metrics",
        "/health%2f..%2fmetrics",
        "/.well-known/oauth-protected-resource%2f..%2f..%2fapi/admin/withdrawals",
        "http://evil.example.com/mcp",
        "http://evil.example.com/health/live/../../metrics",
        "/tenant/tenant:a%2f..%2ftenant:b/mcp",
        "/tenant/../mcp",
        "/tenant/%2e%2e/mcp",
        "/tenant/tenant:b/mcp",
        "/tenant/tenant:a/servers/%2e%2e/mcp",
        "/api/admin/tools/payments/%2e%2e/withdraw",
        "*",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a18_no_spelling_of_a_path_gets_past_authentication(guarded: World, target: str, method: str) -> None:
    body = json.dumps(LIST).encode()
    lines = ["Content-Type: application/json", "X-Forwarded-For: 192.0.2.18"]
    sent = request(f"{method} {target} HTTP/1.1", *lines, body=body)
    answer = await exchange(guarded.gateway.url, sent)
    assert status(answer) in (400, 401, 404, 405)
    assert b"charge" not in answer


@pytest.mark.parametrize(
    "target",
    ["/tenant/tenant:b/mcp", "/tenant/tenant%3Ab/mcp", "/tenant/tenant:a%2f..%2ftenant:b/mcp", "/tenant/%00/mcp"],
)
async def test_a18_a_tenant_in_the_path_is_compared_whole(guarded: World, target: str) -> None:
    lines = [f"Authorization: {bearer(guarded)}", "Content-Type: application/json"]
    sent = request(f"POST {target} HTTP/1.1", *lines, body=json.dumps(LIST).encode())
    answer = await exchange(guarded.gateway.url, sent)
    assert status(answer) == 403
    assert b"inputSchema" not in answer
