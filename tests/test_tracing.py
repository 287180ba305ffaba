"""Traces: one span a request, its children, and what an agent may say of its own trace."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Kinds
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateway import exporting
from gateway.audit import event
from gateway.config.processes import TracingSettings
from gateway.endpoints.replies import code_of
from gateway.errors import ConfigError, InvalidCredential, NotPermitted
from gateway.tracing import Tracing
from tests.support.agents import ask, headers, message
from tests.support.backend import LEGACY
from tests.support.collector import Collector
from tests.support.files import ROOT
from tests.support.gateway import MODERN
from tests.support.raw import connected, request
from tests.support.traced import AT_ONCE, THEIR_SPAN, THEIRS, TRACEPARENT, Traced, traced
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.support.backend import FakeBackend
    from tests.support.collector import Span
    from tests.support.issuer import Issuer

OK, ERROR = 0, 2


@pytest.fixture(scope="module")
async def collector() -> AsyncIterator[Collector]:
    async with Collector().serve() as serving:
        yield serving


@pytest.fixture(scope="module")
async def world(
    tmp_path_factory: pytest.TempPathFactory, issuer: Issuer, backend: FakeBackend, collector: Collector
) -> AsyncIterator[Traced]:
    environment = {**AT_ONCE, "OTEL_METRICS_EXPORTER": "otlp", "OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=one"}
    folder, opa = tmp_path_factory.mktemp("traced"), {"deadline_ms": 1000}
    async with traced(folder, issuer, backend, collector, environment, opa=opa, baggage=["shop"]) as gateway:
        yield Traced(gateway, backend, collector, issuer.mint(tenant_id="tenant:a"))


async def test_a_call_is_one_span_with_decision_and_server_as_its_children(world: Traced) -> None:
    world.backend.received.clear()
    reply = await world.call("charge")
    span = await world.span(reply)
    assert (span.name, span.kind, span.status, span.parent) == ("tools/call charge", Kinds.SPAN_KIND_SERVER, OK, "")
    wanted = {
        "mcp.method.name": "tools/call",
        "mcp.protocol.version": "2025-03-26",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "charge",
        "jsonrpc.request.id": "1",
        "network.transport": "tcp",
        "network.protocol.name": "http",
        "client.address": "127.0.0.1",
        "portcullis.tenant": "tenant:a",
        "portcullis.principal.kind": "jwt",
        "portcullis.server": "payments",
        "portcullis.outcome": "success",
    }
    assert {key: span.attributes.get(key) for key in wanted} == wanted
    decision, server = await world.children(span, 2)
    assert (decision.name, decision.attributes["portcullis.allow"]) == ("portcullis.decide", True)
    assert decision.attributes["portcullis.revision"] >= 1
    assert (server.name, server.kind, server.status) == ("tools/call charge", Kinds.SPAN_KIND_CLIENT, OK)
    assert span.begun <= decision.begun <= decision.ended <= server.begun <= server.ended <= span.ended
    (call,) = world.backend.calls
    assert call.message["params"]["_meta"]["traceparent"].startswith(f"00-{server.trace}-{server.id}-")


async def test_who_sends_is_said_by_the_environment_and_else_by_the_gateway(world: Traced) -> None:
    await world.span(await world.call("charge"))
    resource = world.collector.resources[-1]
    assert (resource["service.name"], resource["service.instance.id"]) == ("portcullis", "one")
    assert "service.version" in resource


async def test_an_agents_trace_is_linked_to_and_not_joined(world: Traced) -> None:
    world.backend.received.clear()
    meta = {"traceparent": TRACEPARENT, "tracestate": "evil=1", "com.example/x": 1}
    span = await world.span(await world.call("charge", meta, traceparent=f"00-{THEIRS}-{'1' * 16}-01"))
    assert span.links == ((THEIRS, THEIR_SPAN), (THEIRS, "1" * 16))
    assert span.trace != THEIRS
    (call,) = world.backend.calls
    arrived = call.message["params"]["_meta"]
    assert arrived["traceparent"].split("-")[1] == span.trace
    assert arrived["com.example/x"] == 1
    assert "tracestate" not in arrived
    assert THEIRS not in f"{call.body!r} {call.headers}"


@pytest.mark.parametrize(
    "traceparent",
    ["00-1-2-03", f"ff-{THEIRS}-{THEIR_SPAN}-01", f"00-{'0' * 32}-{THEIR_SPAN}-01", "x" * 4000, "", 7, None],
)
async def test_what_is_no_trace_is_not_linked_to_and_stays_here(world: Traced, traceparent: Any) -> None:
    world.backend.received.clear()
    span = await world.span(await world.call("charge", {"traceparent": traceparent}))
    assert span.links == ()
    assert world.backend.calls[0].message["params"]["_meta"]["traceparent"].split("-")[1] == span.trace


async def test_only_the_baggage_that_is_configured_goes_to_a_server(world: Traced) -> None:
    world.backend.received.clear()
    await world.call("charge", {"baggage": "user=jo,shop=7;ttl=1 , shopper=x, other=1"})
    await world.call("charge", {"baggage": "user=jo"})
    await world.call("charge", {"baggage": "shop=" + "x" * 9000})
    arrived = [call.message["params"]["_meta"].get("baggage") for call in world.backend.calls]
    assert arrived == ["shop=7;ttl=1", None, None]


async def test_a_tool_that_says_is_error_is_a_tool_error_here_and_at_the_server(world: Traced) -> None:
    world.backend.answer = lambda _: {"content": [], "isError": True}
    try:
        span = await world.span(await world.call("charge"))
    finally:
        world.backend.answer = None
    _, server = await world.children(span, 2)
    for one in (span, server):
        assert (one.status, one.attributes["error.type"]) == (ERROR, "tool_error")


async def test_an_unknown_tool_is_no_name_of_a_span_and_its_reason_is_told(world: Traced) -> None:
    span = await world.span(await world.call("made-up-" + "x" * 500))
    assert (span.name, span.status) == ("tools/call", ERROR)
    assert span.attributes["error.type"] == span.attributes["rpc.response.status_code"] == "-32602"
    assert span.attributes["portcullis.reason"] == "unknown_target"
    assert len(span.attributes["gen_ai.tool.name"]) == 128
    (decision,) = await world.children(span, 1)
    assert decision.attributes["portcullis.allow"] is False


@pytest.mark.parametrize(
    ("method", "member", "attribute"),
    [("prompts/get", "name", "gen_ai.prompt.name"), ("resources/read", "uri", "mcp.resource.uri")],
)
async def test_what_is_no_tool_is_named_as_what_it_is_and_is_no_name_of_a_span_before_it_is_known(
    world: Traced, method: str, member: str, attribute: str
) -> None:
    span = await world.span(await world.gateway.rpc(method, {member: "x:y"}, token=world.token))
    assert (span.name, span.attributes[attribute]) == (method, "x:y")
    assert not {"gen_ai.tool.name", "gen_ai.operation.name"} & span.attributes.keys()


async def test_a_list_and_a_ping_are_spans_without_a_tool(world: Traced) -> None:
    meta = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}
    headers = {"MCP_Protocol_Version": MODERN, "Mcp_Method": "tools/list"}
    listing = await world.gateway.rpc("tools/list", {"_meta": meta}, token=world.token, **headers)
    span = await world.span(listing)
    assert (span.name, span.attributes["mcp.protocol.version"]) == ("tools/list", MODERN)
    assert not {"gen_ai.tool.name", "gen_ai.operation.name", "error.type"} & span.attributes.keys()
    assert [one.name for one in await world.children(span, 1)] == ["portcullis.decide"]
    span = await world.span(await world.gateway.rpc("ping", token=world.token))
    assert (span.name, span.status) == ("ping", OK)


async def test_a_server_that_fails_is_an_error_with_its_code_and_its_part_says_why(world: Traced) -> None:
    async def broken(_request: Any, message: Any) -> Any:
        return None if message.get("method") != "tools/call" else 1 / 0

    world.backend.misbehave = broken
    try:
        span = await world.span(await world.call("charge"))
    finally:
        world.backend.misbehave = None
    assert (span.status, span.attributes["error.type"]) == (ERROR, "50200")
    _, server = await world.children(span, 2)
    assert server.attributes["error.type"] == "upstream_failed"


async def test_a_decision_that_cannot_be_had_is_an_error_of_its_own_part_and_of_the_request(world: Traced) -> None:
    opa = world.gateway.child("opa")
    os.kill(opa, signal.SIGSTOP)
    try:
        reply = await world.call("charge")
    finally:
        os.kill(opa, signal.SIGCONT)
    assert reply.status == 503
    span = await world.span(reply)
    assert (span.status, span.attributes["error.type"]) == (ERROR, "50300")
    assert span.attributes["portcullis.reason"] == "engine_unavailable"
    (decision,) = await world.children(span, 1)
    assert (decision.status, decision.attributes) == (ERROR, {"error.type": "decision_unavailable"})


async def test_a_call_that_names_no_tool_has_the_code_that_it_is_answered_with(world: Traced) -> None:
    reply = await world.call(7)
    span = await world.span(reply)
    assert span.attributes["rpc.response.status_code"] == str(reply.json["error"]["code"]) == "-32602"
    assert (span.name, span.status, "gen_ai.tool.name" in span.attributes) == ("tools/call", ERROR, False)


async def test_what_is_no_mcp_request_of_anybody_known_has_no_span(world: Traced) -> None:
    refused = [
        await world.gateway.rpc("ping", token="no.such.token"),
        await world.gateway.http("POST", "/mcp", b"{", Authorization=f"Bearer {world.token}"),
        await world.gateway.rpc("no/such/method", token=world.token),
    ]
    await world.span(await world.call("charge"))
    seen = {one.attributes.get("portcullis.request.id") for one in world.collector.spans}
    assert not seen & {reply.headers["X-Request-Id"] for reply in refused}


async def test_an_id_of_any_length_is_cut_off(world: Traced) -> None:
    reply = await ask(world.gateway, MODERN, "tools/list", token=world.token, id_=10**1000)
    assert reply.json["id"] == 10**1000
    assert (await world.span(reply)).attributes["jsonrpc.request.id"] == "1" + "0" * 127


async def hang_up(world: Traced, version: str) -> Span:
    """Call a tool, hang up when the call has arrived at its server, let that answer and return the call's span."""
    world.backend.delay, before = asyncio.Event(), len(world.backend.calls)
    body = message(version, "tools/call", {"name": "charge", "arguments": {}}, id_=f"hung up in {version}")
    sent = headers(version, "tools/call", body["params"])
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in sent.items()]
    lines += ["Content-Type: application/json", f"Authorization: Bearer {world.token}"]
    try:
        async with connected(world.gateway.url) as (_, writer):
            writer.write(request("POST /mcp HTTP/1.1", *lines, body=json.dumps(body).encode()))
            await until(lambda: len(world.backend.calls) > before)
        for _ in range(3):
            # What is answered now was read after the end of that connection.
            assert (await world.gateway.rpc("ping", token=world.token)).status == 200
    finally:
        world.backend.delay.set()
        world.backend.delay = None
    return await world.span_with("jsonrpc.request.id", f"hung up in {version}")


async def test_a_call_whose_agent_hangs_up_is_cancelled_here_and_at_the_server(world: Traced) -> None:
    span = await hang_up(world, MODERN)
    _, server = await world.children(span, 2)
    for one in (span, server):
        assert (one.status, one.attributes["error.type"]) == (ERROR, "cancelled")


async def test_a_call_of_an_older_agent_that_hangs_up_goes_on_and_so_does_its_span(world: Traced) -> None:
    span = await hang_up(world, LEGACY)
    assert (span.status, span.attributes["portcullis.outcome"]) == (OK, "success")
    _, server = await world.children(span, 2)
    assert (server.status, server.ended <= span.ended) == (OK, True)


async def test_nothing_secret_is_sent_to_the_collector(world: Traced, issuer: Issuer) -> None:
    named = replace(world, token=issuer.mint(tenant_id="tenant:a", sub="the-person-itself"))
    world.backend.answer = lambda _: {"content": [{"type": "text", "text": "what-the-server-said"}]}
    try:
        reply = await named.call("charge", {"baggage": "user=jo"}, X_Request_Note="hush")
    finally:
        world.backend.answer = None
    assert b"what-the-server-said" in reply.body
    await world.span(reply)
    sent = b"".join(world.collector.bodies)
    told = ("4111-1111", "user=jo", "hush", "the-person-itself", "what-the-server-said")
    for secret in (*told, named.token, named.token.rpartition(".")[2]):
        assert secret.encode() not in sent


async def test_durations_are_sent_along_where_that_is_asked_for_and_by_known_tools_alone(world: Traced) -> None:
    await world.call("charge")
    await world.call("another-made-up-name")

    def measured() -> list[dict[str, str]]:
        found = [one for one in world.collector.metrics if one.name == "mcp.server.operation.duration"]
        points = found[-1].histogram.data_points if found else ()
        return [{pair.key: pair.value.string_value for pair in point.attributes} for point in points]

    charged = {"mcp.method.name": "tools/call", "gen_ai.tool.name": "charge", "mcp.protocol.version": "2025-03-26"}
    refused = {"mcp.method.name": "tools/call", "error.type": "-32602"}

    def both() -> bool:
        return all(any(one.items() <= point.items() for point in measured()) for one in (charged, refused))

    await until(both)
    assert not any("made-up" in value for point in measured() for value in point.values())


async def test_a_trusted_callers_trace_is_continued_and_its_choice_of_sampling_too(
    tmp_path: Any, issuer: Issuer, backend: FakeBackend, collector: Collector
) -> None:
    environment = {**AT_ONCE, "OTEL_SERVICE_NAME": "the-front"}
    async with traced(tmp_path, issuer, backend, collector, environment, trust_callers=True) as gateway:
        world = Traced(gateway, backend, collector, issuer.mint(tenant_id="tenant:a"))
        backend.received.clear()
        span = await world.span(await world.call("charge", {"traceparent": TRACEPARENT, "tracestate": "a=1"}))
        assert (span.trace, span.parent, span.links) == (THEIRS, THEIR_SPAN, ())
        assert collector.resources[-1]["service.name"] == "the-front"
        span = await world.span(await world.call("charge", traceparent=TRACEPARENT))
        assert (span.trace, span.parent) == (THEIRS, THEIR_SPAN)
        unsampled = await world.call("charge", {"traceparent": f"{TRACEPARENT[:-1]}0"})
        await world.span(await world.call("charge"))
    assert unsampled.status == 200
    seen = {one.attributes.get("portcullis.request.id") for one in collector.spans}
    assert unsampled.headers["X-Request-Id"] not in seen
    metas = [call.message["params"]["_meta"] for call in backend.calls]
    assert metas[0]["tracestate"] == "a=1"
    assert metas[2]["traceparent"].startswith(f"00-{THEIRS}-")
    assert metas[2]["traceparent"].endswith("-00")


@pytest.mark.parametrize(
    ("error", "said"),
    [(InvalidCredential("revoked"), "invalid_credential"), (NotPermitted(()), "tool_error"), (OSError(), "failed")],
)
def test_what_is_answered_by_no_code_of_json_rpc_is_told_by_a_word(error: Exception, said: str) -> None:
    kept, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    trace = Tracing(provider.get_tracer("test"), code_of=code_of).begin("tools/call", {}, "charge", ())
    trace.noted(event("AuthorizationDenied", "failure", reason="what a caller sent" * 1000))
    with pytest.raises(type(error)), trace:
        raise error
    (span,) = kept.get_finished_spans()
    assert span.attributes is not None
    assert span.attributes["error.type"] == said
    assert len(str(span.attributes["portcullis.reason"])) == 128


@pytest.mark.parametrize(
    "environment",
    [{"OTEL_TRACES_EXPORTER": "zipkin"}, {"OTEL_METRICS_EXPORTER": "prometheus"},
     {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"}],
)  # fmt: skip
def test_an_exporter_or_a_protocol_that_is_not_there_is_refused(environment: Mapping[str, str]) -> None:
    with pytest.raises(ConfigError, match="tracing: "):
        exporting.begin(TracingSettings(enabled=True), "one", environment, lambda _: None)


async def python(code: str, **environment: str) -> str:
    """Run a program beside this one and return what it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, cwd=ROOT, stdout=asyncio.subprocess.PIPE, env={**os.environ, **environment}
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


# As the start does it, up to where it would say what is wrong.
REFUSED = """
from contextlib import AsyncExitStack
from gateway import observed
from gateway.config import Config
from gateway.errors import ConfigError
config = Config.model_validate({'tracing': {'enabled': True}})
try: observed.tracing(AsyncExitStack(), config, lambda _: None)
except ConfigError as error: print(error)
"""


async def test_without_traces_nothing_of_opentelemetry_is_imported() -> None:
    code = "import sys, gateway.cli.up; print([name for name in sys.modules if name.startswith('opentelemetry')])"
    assert (await python(code)).strip() == "[]"


async def test_without_the_extra_it_is_said_what_to_install() -> None:
    said = await python(f"import sys; sys.modules['opentelemetry.sdk'] = None\n{REFUSED}")
    assert "tracing.enabled: needs what `pip install portcullis[otel]` brings" in said


async def test_a_variable_of_opentelemetry_that_cannot_be_used_is_a_mistake_of_the_configuration() -> None:
    said = await python(REFUSED, OTEL_BSP_MAX_QUEUE_SIZE="8", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="9")
    assert "tracing: an OTEL_ variable cannot be used: " in said


def test_the_page_of_traces_names_every_attribute_of_the_code() -> None:
    page = (ROOT / "docs" / "tracing.md").read_text()
    code = "".join((ROOT / "gateway" / name).read_text() for name in ("tracing.py", "endpoints/traced.py"))
    attributes = set(re.findall(r'"((?:mcp|gen_ai|jsonrpc|network|client|portcullis|error|rpc)\.[a-z_.]+)"', code))
    assert attributes
    assert {one for one in attributes if f"`{one}`" not in page} == set()
