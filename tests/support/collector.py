"""A small real collector: it takes traces and metrics by OTLP over HTTP, and keeps them."""

from __future__ import annotations

import gzip
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.listening import listening

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Iterable


@dataclass(frozen=True, slots=True)
class Span:
    """One span as it arrived; `kind` and `status` are the protocol's numbers."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    status: int
    attributes: dict[str, Any]
    links: tuple[tuple[str, str], ...]
    begun: int
    ended: int


@dataclass
class Collector:
    """What arrived so far. While it is `held` it takes what it is sent and answers nobody; `waiting` are so many."""

    spans: list[Span] = field(default_factory=list)
    resources: list[dict[str, Any]] = field(default_factory=list)
    metrics: list[Any] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    url: str = ""
    held: asyncio.Event | None = None
    waiting: int = 0

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Collector]:
        """Listen on loopback while the block lasts."""
        app = web.Application()
        app.router.add_post("/v1/traces", self._traces)
        app.router.add_post("/v1/metrics", self._metrics)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        async with listening(runner) as self.url:
            yield self

    def children(self, parent: Span) -> list[Span]:
        """Return the children of a span, first begun first."""
        return sorted((one for one in self.spans if one.parent == parent.id), key=lambda one: one.begun)

    async def _traces(self, request: web.Request) -> web.Response:
        for part in ExportTraceServiceRequest.FromString(await self._body(request)).resource_spans:
            self.resources.append(_attributes(part.resource.attributes))
            self.spans += [_span(one) for scope in part.scope_spans for one in scope.spans]
        return web.Response(content_type="application/x-protobuf")

    async def _metrics(self, request: web.Request) -> web.Response:
        for part in ExportMetricsServiceRequest.FromString(await self._body(request)).resource_metrics:
            self.metrics += [one for scope in part.scope_metrics for one in scope.metrics]
        return web.Response(content_type="application/x-protobuf")

    async def _body(self, request: web.Request) -> bytes:
        body = await request.read()
        body = gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body
        self.bodies.append(body)
        if self.held is not None:
            self.waiting += 1
            await self.held.wait()
            self.waiting -= 1
        return body


def _attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


def _span(one: Any) -> Span:
    return Span(
        name=one.name,
        trace=one.trace_id.hex(),
        id=one.span_id.hex(),
        parent=one.parent_span_id.hex(),
        kind=one.kind,
        status=one.status.code,
        attributes=_attributes(one.attributes),
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in one.links),
        begun=one.start_time_unix_nano,
        ended=one.end_time_unix_nano,
    )
