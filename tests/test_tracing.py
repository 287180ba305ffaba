"""Traces: one span a request, its children, and what an agent may say of its own trace."""

from __future__ import annotations

import asyncio
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Kinds

from gateway import exporting
from gateway.config.processes import TracingSettings
from gateway.errors import ConfigError
from tests.support.collector import Collector, Span
from tests.support.files import ROOT
from tests.support.gateway import MODERN, PATIENT, Portcullis, front_door
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.support.backend import FakeBackend
    from tests.support.gateway import Reply
    from tests.support.issuer import Issuer

THEIRS = "0af7651916cd43dd8448eb211c80319c"
THEIR_SPAN = "00f067aa0ba902b7"
TRACEPARENT = f"00-{THEIRS}-{THEIR_SPAN}-01"
OK, ERROR = 0, 2
# Sent at once, so that a test has not to wait for the usual five seconds.
AT_ONCE = {"OTEL_BSP_SCHEDULE_DELAY": "20", "OTEL_METRIC_EXPORT_INTERVAL": "50"}


@dataclass
class Traced:
    """A gateway that makes traces, the server behind it and the collector that gets them."""

    gateway: Portcullis
    backend: FakeBackend
    collector: Collector
    token: str

    async def call(self, name: str, meta: Mapping[str, Any] | None = None, **headers: str) -> Reply:
        params = {"name": name, "arguments": {"card": "4111-1111"}, **({"_meta": meta} if meta else {})}
        return await self.gateway.rpc("tools/call", params, token=self.token, **headers)

    async def span(self, reply: Reply) -> Span:
        """Return the span of a request once it has arrived."""
        id_ = reply.headers["X-Request-Id"]
        found = await until(
            lambda: [one for one in self.collector.spans if one.attributes.get("portcullis.request.id") == id_]
        )
        return found[0]


async def traced(
    folder: Any, issuer: Issuer, backend: FakeBackend, collector: Collector, environment: Mapping[str, str] = AT_ONCE,
    **tracing: Any,
) -> Portcullis:  # fmt: skip
    sections = {"opa": PATIENT, "tracing": {"enabled": True, **tracing}}
    config = front_door(f"http://127.0.0.1:{backend.port}/mcp", issuer.url, **sections)
    return Portcullis(folder, config, environment={**environment, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})


@pytest.fixture(scope="module")
async def collector() -> AsyncIterator[Collector]:
    async with Collector().serve() as serving:
        yield serving


@pytest.fixture(scope="module")
async def world(
    tmp_path_factory: pytest.TempPathFactory, issuer: Issuer, backend: FakeBackend, collector: Collector
) -> AsyncIterator[Traced]:
    environment = {**AT_ONCE, "OTEL_METRICS_EXPORTER": "otlp", "OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=one"}
    settings = {"baggage": ["shop"]}
    async with await traced(
        tmp_path_factory.mktemp("traced"), issuer, backend, collector, environment, **settings
    ) as gateway:
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
    decision, server = await until(lambda: (found := world.collector.children(span))[1:] and found)
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
    arrived = world.backend.calls[0].message["params"]["_meta"]
    assert arrived["traceparent"].split("-")[1] == span.trace
    assert arrived["com.example/x"] == 1
    assert "tracestate" not in arrived


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
    _, server = await until(lambda: (found := world.collector.children(span))[1:] and found)
    for one in (span, server):
        assert (one.status, one.attributes["error.type"]) == (ERROR, "tool_error")


async def test_an_unknown_tool_is_no_name_of_a_span_and_its_reason_is_told(world: Traced) -> None:
    span = await world.span(await world.call("made-up-" + "x" * 500))
    assert (span.name, span.status) == ("tools/call", ERROR)
    assert span.attributes["error.type"] == span.attributes["rpc.response.status_code"] == "-32602"
    assert span.attributes["portcullis.reason"] == "unknown_target"
    assert len(span.attributes["gen_ai.tool.name"]) == 128
    (decision,) = await until(lambda: world.collector.children(span))
    assert decision.attributes["portcullis.allow"] is False


async def test_a_list_and_a_ping_are_spans_without_a_tool(world: Traced) -> None:
    meta = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}
    headers = {"MCP_Protocol_Version": MODERN, "Mcp_Method": "tools/list"}
    listing = await world.gateway.rpc("tools/list", {"_meta": meta}, token=world.token, **headers)
    span = await world.span(listing)
    assert (span.name, span.attributes["mcp.protocol.version"]) == ("tools/list", MODERN)
    assert not {"gen_ai.tool.name", "gen_ai.operation.name", "error.type"} & span.attributes.keys()
    assert [one.name for one in await until(lambda: world.collector.children(span))] == ["portcullis.decide"]
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
    _, server = await until(lambda: (found := world.collector.children(span))[1:] and found)
    assert server.attributes["error.type"] == "upstream_failed"


async def test_nothing_secret_is_sent_to_the_collector(world: Traced) -> None:
    await world.span(await world.call("charge", {"baggage": "user=jo"}, X_Request_Note="hush"))
    sent = b"".join(world.collector.bodies)
    for secret in ("4111-1111", world.token, world.token.rpartition(".")[2], "user=jo", "hush"):
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
    async with await traced(tmp_path, issuer, backend, collector, trust_callers=True) as gateway:
        world = Traced(gateway, backend, collector, issuer.mint(tenant_id="tenant:a"))
        backend.received.clear()
        span = await world.span(await world.call("charge", {"traceparent": TRACEPARENT, "tracestate": "a=1"}))
        assert (span.trace, span.parent, span.links) == (THEIRS, THEIR_SPAN, ())
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


async def test_a_collector_that_is_away_keeps_no_request_and_no_end_waiting(
    tmp_path: Any, issuer: Issuer, backend: FakeBackend
) -> None:
    nobody = Collector(url="http://127.0.0.1:9")
    async with await traced(tmp_path, issuer, backend, nobody) as gateway:
        reply = await gateway.call("charge", token=issuer.mint(tenant_id="tenant:a"))
        assert reply.status == 200
        assert await gateway.stop() == 0


@pytest.mark.parametrize(
    "environment",
    [{"OTEL_TRACES_EXPORTER": "zipkin"}, {"OTEL_METRICS_EXPORTER": "prometheus"},
     {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"}],
)  # fmt: skip
def test_an_exporter_or_a_protocol_that_is_not_there_is_refused(environment: Mapping[str, str]) -> None:
    with pytest.raises(ConfigError, match="tracing: "):
        exporting.begin(TracingSettings(enabled=True), "one", environment, lambda _: None)


async def python(code: str) -> str:
    """Run a program beside this one and return what it prints."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def test_without_traces_nothing_of_opentelemetry_is_imported() -> None:
    code = "import sys, gateway.cli.up; print([name for name in sys.modules if name.startswith('opentelemetry')])"
    assert (await python(code)).strip() == "[]"


async def test_without_the_extra_it_is_said_what_to_install() -> None:
    code = (
        "import sys; sys.modules['opentelemetry.sdk'] = None\n"
        "from contextlib import AsyncExitStack\n"
        "from gateway import observed\n"
        "from gateway.config import Config\n"
        "from gateway.errors import ConfigError\n"
        "config = Config.model_validate({'tracing': {'enabled': True}})\n"
        "try: observed.tracing(AsyncExitStack(), config, lambda _: None)\n"
        "except ConfigError as error: print(error)\n"
    )
    assert "pip install portcullis[otel]" in await python(code)


def test_the_page_of_traces_names_every_attribute_of_the_code() -> None:
    page = (ROOT / "docs" / "tracing.md").read_text()
    code = "".join((ROOT / "gateway" / name).read_text() for name in ("tracing.py", "endpoints/traced.py"))
    attributes = set(re.findall(r'"((?:mcp|gen_ai|jsonrpc|network|client|portcullis|error|rpc)\.[a-z_.]+)"', code))
    assert attributes
    assert {one for one in attributes if f"`{one}`" not in page} == set()
