"""A gateway that makes traces, with what gets them and what stands behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.support.gateway import PATIENT, Portcullis, front_door
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.support.backend import FakeBackend
    from tests.support.collector import Collector, Span
    from tests.support.gateway import Reply
    from tests.support.issuer import Issuer

# What an agent says of its own trace, sampled there.
THEIRS = "0af7651916cd43dd8448eb211c80319c"
THEIR_SPAN = "00f067aa0ba902b7"
TRACEPARENT = f"00-{THEIRS}-{THEIR_SPAN}-01"
# Sent at once, so that a test has not to wait for the usual five seconds.
AT_ONCE = {"OTEL_BSP_SCHEDULE_DELAY": "20", "OTEL_METRIC_EXPORT_INTERVAL": "50"}


@dataclass
class Traced:
    """A gateway that makes traces, the server behind it and the collector that gets them."""

    gateway: Portcullis
    backend: FakeBackend
    collector: Collector
    token: str

    async def call(self, name: Any, meta: Mapping[str, Any] | None = None, **headers: str) -> Reply:
        """Call a tool."""
        params = {"name": name, "arguments": {"card": "4111-1111"}, **({"_meta": meta} if meta else {})}
        return await self.gateway.rpc("tools/call", params, token=self.token, **headers)

    async def span(self, reply: Reply) -> Span:
        """Return the span of a request once it has arrived."""
        return await self.span_with("portcullis.request.id", reply.headers["X-Request-Id"])

    async def span_with(self, attribute: str, value: str) -> Span:
        """Return the first span that says so, once it has arrived."""
        spans = self.collector.spans
        found = await until(lambda: [one for one in spans if one.attributes.get(attribute) == value])
        return found[0]

    async def children(self, span: Span, count: int) -> list[Span]:
        """Return the children of a span once so many have arrived."""
        return await until(lambda: (found := self.collector.children(span))[count - 1 :] and found)


def traced(
    folder: Path, issuer: Issuer, backend: FakeBackend, collector: Collector, environment: Mapping[str, str] = AT_ONCE,
    *, opa: Mapping[str, Any] = PATIENT, **tracing: Any,
) -> Portcullis:  # fmt: skip
    """Return a gateway that sends its traces to a collector, to be entered."""
    sections = {"opa": opa, "tracing": {"enabled": True, **tracing}}
    config = front_door(f"http://127.0.0.1:{backend.port}/mcp", issuer.url, **sections)
    return Portcullis(folder, config, environment={**environment, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})
