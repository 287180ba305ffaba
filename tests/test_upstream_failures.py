"""A server that is down, slow, huge or talking nonsense is one clear failure, and nobody else's (A22, A58)."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from gateway.errors import UpstreamFailed
from gateway.ids import Ref
from gateway.model import ANONYMOUS
from gateway.upstream.failures import MAX_ANSWER_BYTES
from gateway.upstream.pool import Upstreams
from gateway.upstream.target import Target
from tests.support.backend import FakeBackend, stream
from tests.support.https import contexts
from tests.support.scripted import scripted
from tests.support.upstreams import call_tool
from tests.support.wait import until

CHARGE = Ref.of_tool("payments", "charge")
BOTH = pytest.mark.parametrize("era", ["modern", "legacy"])


@asynccontextmanager
async def connected(*targets: Target):
    upstreams = Upstreams({target.server: target for target in targets})
    try:
        yield upstreams
    finally:
        await upstreams.close()


@asynccontextmanager
async def behind(backend: FakeBackend, **target):
    async with backend.serve(), connected(Target("payments", backend.url, **target)) as upstreams:
        yield upstreams


def call(upstreams, ref=CHARGE):
    return call_tool(upstreams, ref, {}, {}, ANONYMOUS)


async def failure_of(awaitable) -> str:
    with pytest.raises(UpstreamFailed) as failed:
        await awaitable
    assert failed.value.server == "payments"
    return failed.value.why


def answered(id_, result):
    return json.dumps({"jsonrpc": "2.0", "id": id_, "result": result}).encode()


def text(body: bytes | str, status=200, content_type="application/json", **headers):
    body = body if isinstance(body, bytes) else body.encode()
    lines = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.Response(body=body, status=status, headers={"Content-Type": content_type, **lines})


NONSENSE = {
    "no body": (lambda id_: text(b""), "JSON-RPC"),
    "HTML": (lambda id_: text("<html>", content_type="text/html"), "with JSON"),
    "JSON by another name": (lambda id_: text(answered(id_, {}), content_type="text/plain"), "with JSON"),
    "accepted and nothing more": (lambda id_: web.Response(status=202), "with JSON"),
    "no content": (lambda id_: web.Response(status=204), "with JSON"),
    "half of an object": (lambda id_: text(answered(id_, {})[:-1]), "JSON-RPC"),
    "an array": (lambda id_: text(b"[" + answered(id_, {}) + b"]"), "JSON-RPC"),
    "another request's answer": (lambda id_: text(answered(id_ + 1, {})), "another request"),
    "the id as text": (lambda id_: text(answered(str(id_), {})), "another request"),
    "no id": (lambda id_: text('{"jsonrpc":"2.0","result":{}}'), "another request"),
    "a result that is no object": (lambda id_: text(answered(id_, [])), "JSON-RPC"),
    "a request of its own": (lambda id_: text(f'{{"jsonrpc":"2.0","id":{id_},"method":"ping"}}'), "request of its own"),
    "bytes that are no text": (lambda id_: text(b"\xff\xfe"), "JSON-RPC"),
    "nesting": (lambda id_: text(b'{"jsonrpc":"2.0","id":1,"result":{"a":' + b"[" * 100_000), "JSON-RPC"),
    "compression": (lambda id_: text(b"\x1f\x8b", Content_Encoding="gzip"), "compressed"),
    "an error page": (lambda id_: text("oops", 500, "text/html"), "HTTP 500"),
    "an error page as JSON": (lambda id_: text('{"error":"oops"}', 503), "HTTP 503"),
    "an error about another request": (
        lambda id_: text('{"jsonrpc":"2.0","id":null,"error":{"code":-1,"message":""}}', 400),
        "HTTP 400",
    ),
    "a result under an error status": (lambda id_: text(answered(id_, {"content": []}), 500), "HTTP 500"),
    "a refused credential": (
        lambda id_: text(
            f'{{"jsonrpc":"2.0","id":{id_},"error":{{"code":-1,"message":""}}}}', 401, WWW_Authenticate="x"
        ),
        "HTTP 401",
    ),
    "a redirect": (lambda id_: text(b"", 302, Location="http://127.0.0.1:1/"), "redirect"),
    "a redirect that keeps the method": (lambda id_: text(b"", 307, Location="/elsewhere"), "redirect"),
    "a redirect with an answer in it": (lambda id_: text(answered(id_, {}), 308, Location="/mcp"), "redirect"),
}


@pytest.mark.parametrize(("reply", "why"), NONSENSE.values(), ids=NONSENSE)
async def test_nonsense_is_a_failure_that_names_the_server_and_says_what_was_wrong(reply, why):
    async def odd(request, message):
        return reply(message["id"]) if message["method"] == "tools/call" else None

    async with behind(server := FakeBackend(misbehave=odd)) as upstreams:
        await upstreams.list_tools("payments")
        assert why in await failure_of(call(upstreams))
        assert len(server.calls) == 1
        server.misbehave = None
        assert not (await call(upstreams)).is_error


async def test_a_redirect_is_followed_nowhere_and_takes_no_credential_along():
    async with FakeBackend().serve() as collector:

        async def redirect(request, message):
            return web.Response(status=307, headers={"Location": collector.url})

        headers = {"Authorization": "Bearer canary", "X-API-Key": "canary"}
        async with behind(FakeBackend(misbehave=redirect), headers=headers) as upstreams:
            assert "redirect" in await failure_of(call(upstreams))
            assert "redirect" in await failure_of(upstreams.list_tools("payments"))
        assert collector.received == []


STREAMS = {
    "ends without an answer": ([b": hello\n\n"], "broke off"),
    "ends within the answer": ([b'data: {"jsonrpc":"2.0","id":1'], "broke off"),
    "has no JSON in it": ([b"data: hello\n\n"], "JSON-RPC"),
    "answers another request": ([b'data: {"jsonrpc":"2.0","id":999,"result":{}}\n\n'], "another request"),
    "is empty": ([], "broke off"),
}


@pytest.mark.parametrize(("chunks", "why"), STREAMS.values(), ids=STREAMS)
async def test_a_stream_without_the_answer_is_a_failure(chunks, why):
    async def odd(request, message):
        return await stream(request, chunks) if message["method"] == "tools/call" else None

    async with behind(FakeBackend(misbehave=odd)) as upstreams:
        assert why in await failure_of(call(upstreams))


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
@pytest.mark.parametrize("declared", [True, False], ids=["said before", "found out on the way"])
async def test_an_answer_beyond_the_cap_is_cut_off(content_type, declared):
    written = []

    async def huge(request, message):
        if message["method"] != "tools/call":
            return None
        response = web.StreamResponse(headers={"Content-Type": content_type})
        if declared:
            response.content_length = 10 * MAX_ANSWER_BYTES
        await response.prepare(request)
        for _ in range(160):
            await response.write(b"x" * 1024 * 1024)
            written.append(1)
        return response

    async with behind(FakeBackend(misbehave=huge)) as upstreams:
        assert "more than 16 MiB" in await failure_of(call(upstreams))
        assert len(written) < 100


async def test_many_small_events_that_never_answer_are_cut_off_too():
    async def chatty(request, message):
        event = b"data: " + json.dumps({"jsonrpc": "2.0", "method": "n", "params": "x" * 60_000}).encode() + b"\n\n"
        return await stream(request, [event] * 400) if message["method"] == "tools/call" else None

    async with behind(FakeBackend(misbehave=chatty)) as upstreams:
        assert "more than 16 MiB" in await failure_of(call(upstreams))


@BOTH
async def test_a_server_that_does_not_answer_in_time_is_given_up_on(era):
    async with behind(server := FakeBackend(era=era, delay=asyncio.Event()), timeout_seconds=0.2) as upstreams:
        assert await failure_of(call(upstreams)) == "gave no answer within 0.2 s"
        await until(lambda: server.aborted)


async def test_the_deadline_covers_probe_and_call_together():
    async def slow_probe(request, message):
        if message["method"] == "server/discover":
            await asyncio.Event().wait()

    async with behind(server := FakeBackend(misbehave=slow_probe), timeout_seconds=0.2) as upstreams:
        assert "within 0.2 s" in await failure_of(call(upstreams))
        assert "within 0.2 s" in await failure_of(upstreams.list_tools("payments"))
    assert not server.calls


async def test_an_answer_that_drips_is_given_up_on_too():
    async def drip(request, message):
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.01)

    async with behind(FakeBackend(misbehave=drip), timeout_seconds=0.2) as upstreams:
        assert "within 0.2 s" in await failure_of(call(upstreams))


async def test_a_server_that_is_not_there_cannot_be_reached_until_it_is():
    backend = FakeBackend()
    async with backend.serve():
        port = backend.port
    async with connected(Target("payments", backend.url)) as upstreams:
        assert await failure_of(call(upstreams)) == "cannot be reached"
        async with backend.serve(port):
            assert not (await call(upstreams)).is_error


async def test_a_name_that_does_not_resolve_is_said_to():
    async with connected(Target("payments", "http://nowhere.invalid/mcp")) as upstreams:
        assert await failure_of(call(upstreams)) == "its name does not resolve"


async def test_a_metadata_address_is_not_connected_to():
    async with connected(Target("payments", "http://169.254.169.254/mcp")) as upstreams:
        assert await failure_of(call(upstreams)) == "its address is not one to connect to"


async def test_a_server_that_is_not_configured_is_a_failure():
    async with connected() as upstreams:
        assert await failure_of(call(upstreams)) == "is not configured"


RAW = {
    "no HTTP": (b"220 smtp ready\r\n", r"does not speak HTTP|broke off"),
    "silence and a closed door": (b"", "broke off"),
    "half a head": (b"HTTP/1.1 200 OK\r\nContent-", r"does not speak HTTP|broke off"),
    "half a body": (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{", "broke off"),
    "a broken chunk": (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        r"broke off|does not speak HTTP",
    ),
    "a head without end": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, r"does not speak HTTP|broke off"),
}


@pytest.mark.parametrize(("raw", "why"), RAW.values(), ids=RAW)
async def test_what_is_not_even_http_is_a_failure(raw, why):
    async def talk(reader, writer):
        await reader.read(65536)
        writer.write(raw)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with connected(Target("payments", f"http://127.0.0.1:{port}/mcp", timeout_seconds=5)) as upstreams:
            with pytest.raises(UpstreamFailed, match=why):
                await call(upstreams)


async def test_tls_spoken_to_who_does_not_speak_it_is_a_failure():
    async with (
        FakeBackend().serve() as backend,
        connected(Target("payments", backend.url.replace("http:", "https:"), timeout_seconds=5)) as upstreams,
    ):
        assert await failure_of(call(upstreams)) in ("cannot be reached", "its certificate is not accepted")


async def test_a_certificate_that_nobody_vouches_for_is_a_failure_that_says_so(tmp_path):
    inward, _ = contexts(tmp_path)
    async with (
        scripted(lambda asked: None, tls=inward) as server,
        connected(Target("payments", server.url)) as upstreams,
    ):
        assert await failure_of(call(upstreams)) == "its certificate is not accepted"
    assert not server.asked


async def test_a_broken_call_is_never_sent_again():
    async def hang_up(request, message):
        if message["method"] == "tools/call":
            request.transport.close()

    async with behind(server := FakeBackend(misbehave=hang_up)) as upstreams:
        assert "broke off" in await failure_of(call(upstreams))
        assert len(server.calls) == 1


async def test_a_list_without_an_end_is_given_up_on():
    async def endless(request, message):
        if message["method"] != "tools/list":
            return None
        cursor = int(message["params"].get("cursor", 0)) + 1
        return text(answered(message["id"], {"tools": [], "nextCursor": str(cursor)}))

    async def circular(request, message):
        page = {"tools": [], "nextCursor": "again"}
        return text(answered(message["id"], page)) if message["method"] == "tools/list" else None

    for odd, pages in ((endless, 100), (circular, 2)):
        async with behind(server := FakeBackend(misbehave=odd)) as upstreams:
            assert "without an end" in await failure_of(upstreams.list_tools("payments"))
            assert len(server.of("tools/list")) == pages


async def test_a_full_server_refuses_at_once_and_takes_no_place_of_another():
    release = asyncio.Event()
    async with FakeBackend(delay=release).serve() as slow, FakeBackend().serve() as quick:
        targets = Target("payments", slow.url, max_concurrent_requests=3), Target("crm", quick.url)
        async with connected(*targets) as upstreams:
            await upstreams.list_tools("payments")
            waiting = [asyncio.create_task(call(upstreams)) for _ in range(3)]
            await until(lambda: len(slow.calls) == 3)
            assert "too many requests" in await failure_of(call(upstreams))
            assert not (await call(upstreams, Ref.of_tool("crm", "charge"))).is_error
            release.set()
            assert not any(answer.is_error for answer in await asyncio.gather(*waiting))
            assert not (await call(upstreams)).is_error
    assert len(slow.calls) == 4


async def test_who_stops_waiting_gives_the_place_back():
    async with behind(server := FakeBackend(delay=asyncio.Event()), max_concurrent_requests=1) as upstreams:
        for expected in (1, 2, 3):
            waiting = asyncio.create_task(call(upstreams))
            await until(lambda expected=expected: len(server.calls) == expected)
            waiting.cancel()
            await asyncio.wait([waiting])


async def test_nothing_of_the_agents_goes_along_and_the_configured_headers_do():
    headers = {"Authorization": "Bearer gateway", "X-Tenant": "all", "Mcp-Session-Id": "x", "accept": "text/html"}
    async with behind(server := FakeBackend(), headers=headers) as upstreams:
        await call(upstreams)
    allowed = {"host", "authorization", "x-tenant", "content-type", "content-length", "accept", "accept-encoding"}
    allowed |= {"user-agent", "mcp-protocol-version", "mcp-method", "mcp-name"}
    for received in server.received:
        assert {name.lower() for name in received.headers} <= allowed
        assert received.headers["Authorization"] == "Bearer gateway"
        assert received.headers.getall("Accept") == ["application/json, text/event-stream"]
        assert received.headers["Accept-Encoding"] == "identity"


async def test_cookies_of_a_server_are_not_kept():
    async def bake(request, message):
        if message["method"] != "tools/call":
            return None
        return text(answered(message["id"], {"content": []}), Set_Cookie="a=b")

    async with behind(server := FakeBackend(misbehave=bake)) as upstreams:
        await call(upstreams)
        await call(upstreams)
    assert not any("Cookie" in received.headers for received in server.received)


async def test_a_reload_keeps_what_is_unchanged_and_lets_the_rest_finish():
    release = asyncio.Event()
    async with FakeBackend(delay=release).serve() as old, FakeBackend().serve() as same:
        gone, kept = Target("payments", old.url), Target("crm", same.url)
        async with connected(gone, kept) as upstreams:
            await upstreams.list_tools("crm")
            waiting = asyncio.create_task(call(upstreams))
            await until(lambda: old.calls)
            upstreams.replace({"crm": kept})
            assert await failure_of(call(upstreams)) == "is not configured"
            release.set()
            assert not (await waiting).is_error
            await upstreams.list_tools("crm")
        assert len(same.of("server/discover")) == 1
