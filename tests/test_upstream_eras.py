"""Servers of either era: found out once, spoken to in their own way, every byte that matters as it was sent."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from gateway.errors import UpstreamFailed
from gateway.ids import Ref
from gateway.mcp import json as exact
from gateway.model import ANONYMOUS
from gateway.upstream.pool import Upstreams
from gateway.upstream.target import Target
from tests.support.backend import FakeBackend, failure, tool
from tests.support.upstreams import call_tool
from tests.support.wait import until

CHARGE = Ref.of_tool("payments", "charge")
BOTH = pytest.mark.parametrize("era", ["modern", "legacy"])
WAYS = pytest.mark.parametrize(
    "backend",
    [
        {"era": era, "sse": sse, "sessions": sessions}
        for era, sse, sessions in [
            ("modern", False, False),
            ("modern", True, False),
            ("legacy", False, False),
            ("legacy", True, True),
            ("legacy", False, True),
        ]
    ],
    ids=["modern", "modern over SSE", "legacy", "legacy over SSE with sessions", "legacy with sessions"],
)


@asynccontextmanager
async def behind(backend: FakeBackend, **target):
    async with backend.serve():
        upstreams = Upstreams({"payments": Target("payments", backend.url, **target)})
        try:
            yield upstreams
        finally:
            await upstreams.close()


def call(upstreams, arguments=None, meta=None, ref=CHARGE):
    return call_tool(upstreams, ref, arguments if arguments is not None else {}, meta or {}, ANONYMOUS)


@WAYS
async def test_a_server_is_listed_and_called_in_its_own_way(backend):
    async with behind(server := FakeBackend(**backend)) as upstreams:
        assert [tool.name for tool in await upstreams.list_tools("payments")] == ["charge", "refund"]
        answer = await call(upstreams)
    assert answer.member("content") == [{"type": "text", "text": "charge done"}]
    assert len(server.calls) == 1


async def test_a_modern_server_is_probed_once_and_then_remembered():
    async with behind(server := FakeBackend()) as upstreams:
        await upstreams.list_tools("payments")
        await asyncio.gather(*(call(upstreams) for _ in range(5)))
    assert len(server.of("server/discover")) == 1
    assert not server.of("initialize")


async def test_many_first_calls_at_once_probe_once():
    async with behind(server := FakeBackend(era="legacy")) as upstreams:
        await asyncio.gather(*(call(upstreams) for _ in range(20)))
    assert [len(server.of(method)) for method in ("server/discover", "initialize", "tools/call")] == [1, 1, 20]


async def test_a_modern_request_carries_its_version_its_routing_headers_and_no_capabilities():
    async with behind(server := FakeBackend(definitions=[tool("réfund"), tool("charge")])) as upstreams:
        await call(upstreams, {"a": 1})
        await call(upstreams, ref=Ref.of_tool("payments", "re/fund"))
    first, second = server.calls
    assert first.headers["MCP-Protocol-Version"] == "2026-07-28"
    assert first.headers["Mcp-Method"] == "tools/call"
    assert (first.headers["Mcp-Name"], second.headers["Mcp-Name"]) == ("charge", "re/fund")
    meta = first.message["params"]["_meta"]
    assert meta["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
    assert meta["io.modelcontextprotocol/clientCapabilities"] == {}
    assert meta["io.modelcontextprotocol/clientInfo"]["name"] == "portcullis"


async def test_an_older_server_gets_its_handshake_and_the_version_it_chose():
    async with behind(server := FakeBackend(era="legacy")) as upstreams:
        await call(upstreams)
    handshake = server.of("initialize")[0]
    assert handshake.message["params"]["capabilities"] == {}
    assert [received.method for received in server.received][1:3] == ["initialize", "notifications/initialized"]
    assert server.calls[0].headers["MCP-Protocol-Version"] == "2025-11-25"
    assert not {"Mcp-Method", "Mcp-Name"} & set(server.calls[0].headers)
    assert "_meta" not in server.calls[0].message["params"]


@BOTH
async def test_trace_context_and_foreign_meta_keys_pass_and_reserved_ones_are_ours(era):
    meta = {
        "traceparent": "00-1-2-01",
        "com.example/x": {"big": 2**70},
        "progressToken": 5,
        "io.modelcontextprotocol/clientCapabilities": {"sampling": {}},
        "io.modelcontextprotocol/logLevel": "debug",
    }
    async with behind(server := FakeBackend(era=era)) as upstreams:
        await call(upstreams, meta=meta)
    sent = server.calls[0].message["params"]["_meta"]
    foreign = {key: value for key, value in sent.items() if not key.startswith("io.modelcontextprotocol/")}
    assert foreign == {"traceparent": "00-1-2-01", "com.example/x": {"big": 2**70}}
    assert sent.get("io.modelcontextprotocol/clientCapabilities", {}) == {}
    assert "io.modelcontextprotocol/logLevel" not in sent


@BOTH
async def test_arguments_arrive_as_they_were_decided_on(era):
    rest = '"rate":1.10,"nested":{"Name":1,"name":2},"text":"\u2028\\u0000","none":null,"minus":-0.0}'
    body = f'{{"amount":{2**70},' + rest
    arguments = exact.decode(body.encode())
    async with behind(server := FakeBackend(era=era)) as upstreams:
        await call(upstreams, arguments)
    assert exact.decode(server.calls[0].body)["params"]["arguments"] == arguments
    assert str(2**70).encode() in server.calls[0].body


async def test_a_call_without_arguments_is_sent_without_them():
    async with behind(server := FakeBackend()) as upstreams:
        await call_tool(upstreams, CHARGE, None, {}, ANONYMOUS)
    assert "arguments" not in server.calls[0].message["params"]


@BOTH
async def test_a_result_arrives_with_every_byte_of_its_members(era):
    content = f'[ {{"big":{2**70}, ' + '"type":"text", "text":"\\u2028 \u2028", "n":1.10, "a":1, "a":2} ]'
    result = f'{{ "content": {content}, "vendor": {{"x" : 1e2}} }}'
    async with behind(FakeBackend(era=era, answer=lambda params: result.encode())) as upstreams:
        answer = await call(upstreams)
    assert bytes(answer.result["content"]).decode() == content
    assert bytes(answer.result["vendor"]) == b'{"x" : 1e2}'


@pytest.mark.parametrize(
    ("status", "code"), [(200, -32602), (400, -32602), (404, -32601), (200, -32603), (500, -32603)]
)
async def test_a_servers_own_error_is_an_answer_and_not_a_failure(status, code):
    async def refuse(request, message):
        return failure(message["id"], code, "no", status, {"a": 1}) if message["method"] == "tools/call" else None

    async with behind(FakeBackend(misbehave=refuse)) as upstreams:
        answer = await call(upstreams)
    assert (answer.error.code, answer.error.message, json.loads(answer.error.data)) == (code, "no", {"a": 1})


@BOTH
async def test_pages_are_drained_and_what_may_not_be_offered_is_counted(era):
    definitions = [tool(f"tool-{number}") for number in range(7)] + [tool("bad name"), b'{"name":5}']
    async with behind(server := FakeBackend(era=era, definitions=definitions, page_size=2)) as upstreams:
        listed = await upstreams.list_tools("payments")
        assert upstreams.dropped == {"payments": 2}
    assert [tool.name for tool in listed] == [f"tool-{number}" for number in range(7)]
    assert len(server.of("tools/list")) == 5


async def test_a_server_that_changes_its_era_is_found_out_after_one_failure():
    async with behind(server := FakeBackend()) as upstreams:
        await call(upstreams)
        server.era, server.sessions = "legacy", True
        with pytest.raises(UpstreamFailed):
            await call(upstreams)
        assert not (await call(upstreams)).is_error


async def test_a_server_that_has_become_modern_is_spoken_to_so_at_once_because_it_says_so():
    async with behind(server := FakeBackend(era="legacy")) as upstreams:
        await call(upstreams)
        server.era = "modern"
        assert not (await call(upstreams)).is_error
    assert [received.headers["MCP-Protocol-Version"] for received in server.calls] == [
        "2025-11-25",
        "2025-11-25",
        "2026-07-28",
    ]


@pytest.mark.parametrize(
    "probe",
    [
        lambda id_: web.Response(status=404),
        lambda id_: web.Response(status=405),
        lambda id_: web.Response(status=500, text="oops"),
        lambda id_: web.Response(status=400, text="Missing session ID"),
        lambda id_: failure(id_, -32601, "Method not found"),
        lambda id_: failure(id_, -32000, "no session", 400),
        lambda id_: failure(id_, -32022, "version", 400, {"supported": ["2025-11-25"], "requested": "2026-07-28"}),
        lambda id_: failure(id_, -32022, "version", 400),
        lambda id_: web.json_response({"jsonrpc": "2.0", "id": id_, "result": {"supportedVersions": ["2025-06-18"]}}),
        lambda id_: web.json_response({"jsonrpc": "2.0", "id": id_, "result": {}}),
    ],
)
async def test_whatever_is_no_sign_of_the_modern_era_means_the_handshake(probe):
    async def odd(request, message):
        return probe(message["id"]) if message.get("method") == "server/discover" else None

    async with behind(server := FakeBackend(era="legacy", misbehave=odd)) as upstreams:
        await call(upstreams)
    assert len(server.of("initialize")) == 1


@pytest.mark.parametrize("code", [-32020, -32021])
async def test_errors_that_only_the_modern_era_knows_are_a_sign_of_it(code):
    async def odd(request, message):
        return failure(message["id"], code, "x", 400) if message["method"] == "server/discover" else None

    async with behind(server := FakeBackend(misbehave=odd)) as upstreams:
        await call(upstreams)
    assert not server.of("initialize")


async def test_a_server_without_a_common_version_is_a_clear_failure():
    async def odd(request, message):
        return failure(message["id"], -32022, "version", 400, {"supported": ["2030-01-01"], "requested": "2026-07-28"})

    async with behind(FakeBackend(misbehave=odd)) as upstreams:
        with pytest.raises(UpstreamFailed, match="no version of MCP"):
            await call(upstreams)


async def test_arguments_are_repeated_in_the_headers_that_the_server_wants():
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    async with behind(server := FakeBackend(definitions=[tool("charge", inputSchema=schema)])) as upstreams:
        await upstreams.list_tools("payments")
        await call(upstreams, {"region": "Köln"})
        await call(upstreams, {})
    assert server.calls[0].headers["Mcp-Param-Region"] == "=?base64?S8O2bG4=?="
    assert "Mcp-Param-Region" not in server.calls[1].headers


async def test_a_call_refused_for_its_headers_is_made_once_more_with_the_schema_read_anew():
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}

    async def demand(request, message):
        if message["method"] == "tools/call" and "Mcp-Param-Region" not in request.headers:
            return failure(message["id"], -32020, "Mcp-Param-Region is missing", 400)
        return None

    async with behind(server := FakeBackend(definitions=[tool("charge")], misbehave=demand)) as upstreams:
        await upstreams.list_tools("payments")
        server.definitions = [tool("charge", inputSchema=schema)]
        assert not (await call(upstreams, {"region": "eu"})).is_error
    assert [received.headers.get("Mcp-Param-Region") for received in server.calls] == [None, "eu"]


async def test_a_call_that_stays_refused_for_its_headers_is_not_made_a_third_time():
    async def demand(request, message):
        return failure(message["id"], -32020, "no", 400) if message["method"] == "tools/call" else None

    async with behind(server := FakeBackend(misbehave=demand)) as upstreams:
        assert (await call(upstreams)).error.code == -32020
    assert len(server.calls) == 2


@BOTH
async def test_who_stops_waiting_stops_the_server(era):
    async with behind(server := FakeBackend(era=era, delay=asyncio.Event())) as upstreams:
        await upstreams.list_tools("payments")
        waiting = asyncio.create_task(call(upstreams))
        await until(lambda: server.calls)
        waiting.cancel()
        await until(lambda: server.aborted)
        with pytest.raises(asyncio.CancelledError):
            await waiting
        if era == "legacy":
            told = await until(lambda: server.of("notifications/cancelled"))
            assert told[0].message["params"]["requestId"] == server.calls[0].message["id"]


@BOTH
async def test_what_a_server_asks_on_a_stream_is_declined_and_the_answer_still_arrives(era):
    asked = {"jsonrpc": "2.0", "id": "q", "method": "sampling/createMessage", "params": {}}
    ping = {"jsonrpc": "2.0", "id": 9, "method": "ping"}
    told = {"jsonrpc": "2.0", "method": "notifications/message", "params": {}}

    async def chatty(request, message):
        if message.get("method") != "tools/call":
            return None if "method" in message else web.Response(status=202)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in (asked, ping, told):
            await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        await until(lambda: [one for one in server.received if one.message and "method" not in one.message][1:])
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": {"content": []}}
        await response.write(b"data: " + json.dumps(answer).encode() + b"\n\n")
        return response

    async with behind(server := FakeBackend(era=era, misbehave=chatty)) as upstreams:
        assert (await call(upstreams)).member("content") == []
    answers = [one.message for one in server.received if one.message and "method" not in one.message]
    assert {str(one["id"]): one.get("error", {}).get("code") for one in answers} == {"q": -32601, "9": None}


@pytest.mark.parametrize("kind", ["task", "", 5])
async def test_a_result_of_a_kind_that_nobody_asked_for_is_a_clear_failure(kind):
    def asking(params):
        return {"resultType": kind, "inputRequests": {}}

    async with behind(FakeBackend(answer=asking)) as upstreams:
        with pytest.raises(UpstreamFailed, match="kind of result"):
            await call(upstreams)
