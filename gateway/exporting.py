"""Where traces go: OpenTelemetry's SDK and its exporter, set up by the environment variables that it documents.

Imported by name, and only with `tracing.enabled`: the packages are an extra, `pip install portcullis[otel]`.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from gateway import __version__
from gateway.errors import ConfigError, Mistake
from gateway.tracing import Tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.config.processes import TracingSettings

SCOPE = "portcullis"
PROTOCOL = "http/protobuf"
PATIENCE_SECONDS = 3.0
# As the conventions want them for mcp.server.operation.duration.
BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)


@dataclass(frozen=True, slots=True)
class Exporting:
    """Traces that are made and sent on. `close` sends what is left, for as long as somebody may be kept waiting."""

    tracing: Tracing
    providers: tuple[TracerProvider | MeterProvider, ...]

    async def close(self) -> None:
        """Send what is left; after three seconds it is lost, because a collector that is away must delay no end."""
        loop, closed = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            for provider in self.providers:
                provider.shutdown()
            with contextlib.suppress(RuntimeError):  # the loop may have ended
                loop.call_soon_threadsafe(closed.set)

        threading.Thread(target=shut_down, name="send the last traces", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await closed.wait()


def begin(
    settings: TracingSettings,
    replica: str,
    environment: Mapping[str, str],
    code_of: Callable[[BaseException], int | None],
) -> Exporting:
    """Return traces as configuration and environment want them; raises ConfigError for what they cannot want."""
    try:
        return _begun(settings, replica, environment, code_of)
    except ValueError as error:
        raise _refused(f"an OTEL_ variable cannot be used: {error}") from error


def _begun(
    settings: TracingSettings,
    replica: str,
    environment: Mapping[str, str],
    code_of: Callable[[BaseException], int | None],
) -> Exporting:
    resource = _resource(replica)
    spans = TracerProvider(resource=resource, shutdown_on_exit=False)
    if _wanted(environment, "TRACES", by_default=True):
        spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    providers: tuple[TracerProvider | MeterProvider, ...] = (spans,)
    measured = None
    # Prometheus has the durations, so they are sent along only to those who ask for that.
    if _wanted(environment, "METRICS", by_default=False):
        reader = PeriodicExportingMetricReader(OTLPMetricExporter())
        meters = MeterProvider([reader], resource, shutdown_on_exit=False)
        providers = (spans, meters)
        measured = (
            meters.get_meter(SCOPE, __version__)
            .create_histogram(
                "mcp.server.operation.duration",
                unit="s",
                description="The duration of an MCP request, as its receiver saw it.",
                explicit_bucket_boundaries_advisory=BUCKETS,
            )
            .record
        )
    tracing = Tracing(
        spans.get_tracer(SCOPE, __version__),
        trust_callers=settings.trust_callers,
        baggage=settings.baggage,
        code_of=code_of,
        measured=measured,
    )
    return Exporting(tracing, providers)


def _resource(replica: str) -> Resource:
    """Return who sends: what the environment says, and of the rest what is known here."""
    said = Resource.create()
    ours = {"service.name": SCOPE, "service.version": __version__, "service.instance.id": replica}
    unsaid = {key: value for key, value in ours.items() if key not in said.attributes}
    if str(said.attributes.get("service.name", "")).startswith("unknown_service"):
        unsaid["service.name"] = SCOPE
    return said.merge(Resource(unsaid))


def _wanted(environment: Mapping[str, str], signal: str, *, by_default: bool) -> bool:
    """Say whether a signal is sent; raises ConfigError for an exporter or a protocol that is not there."""
    exporter = environment.get(f"OTEL_{signal}_EXPORTER") or ("otlp" if by_default else "none")
    if exporter not in ("otlp", "none"):
        raise _refused(f"OTEL_{signal}_EXPORTER is {exporter!r}; it must be otlp or none")
    names = (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    protocol = next((environment[name] for name in names if environment.get(name)), PROTOCOL)
    if exporter == "otlp" and protocol != PROTOCOL:
        raise _refused(f"the protocol is {protocol!r}; only {PROTOCOL} is spoken here")
    return exporter == "otlp"


def _refused(why: str) -> ConfigError:
    return ConfigError((Mistake("", "tracing", None, why),))
