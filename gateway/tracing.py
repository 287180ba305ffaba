"""One span for each MCP request, with the decision and the server as its children (docs/tracing.md).

Names and attributes are those of OpenTelemetry's conventions for MCP (semantic-conventions-genai, docs/gen-ai/mcp.md);
what they have no name for begins with `portcullis.`. Arguments, results and credentials are in none of them. This is
imported only where traces are made.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Self

from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, SpanKind, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway.errors import InvalidCredential, NotPermitted
from gateway.mcp.trace_context import claimed, replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from types import TracebackType

    from opentelemetry.trace import Span, SpanContext, Tracer

    from gateway.ids import Ref
    from gateway.model import AuditEvent, Verdict

    Attributes = dict[str, str | bool | int | float]

W3C = TraceContextTextMapPropagator()
CALL = "tools/call"
READ_AS = "mcp.resource.uri"
# How OpenTelemetry names what a method is about (semantic conventions for MCP).
NAMED_AS = {CALL: "gen_ai.tool.name", "prompts/get": "gen_ai.prompt.name", "resources/read": READ_AS}
MAX_CHARACTERS = 128
TOOL_ERROR = "tool_error"
FAILED = "failed"
NANOSECONDS = 1_000_000_000


class Tracing:
    """Begins traces. `tracer` makes the spans; `measured` gets the duration of each request, or nobody does.

    What an agent says of its own trace is linked to, or with `trust_callers` continued: whoever can choose the trace
    that his requests belong to, can choose whether they are sampled, and whose traces they are found in.
    """

    def __init__(
        self,
        tracer: Tracer,
        *,
        trust_callers: bool = False,
        baggage: Collection[str] = (),
        code_of: Callable[[BaseException], int | None] = lambda _: None,
        measured: Callable[[float, Mapping[str, str | bool | int | float]], None] | None = None,
    ) -> None:
        """`code_of` returns the JSON-RPC code that an error is answered with, None where it is none."""
        self.tracer = tracer
        self.baggage = frozenset(baggage)
        self.code_of = code_of
        self.measured = measured
        self._trust = trust_callers

    def begin(self, method: str, attributes: Attributes, name: str | None, claims: Iterable[tuple[Any, Any]]) -> Trace:
        """Return the trace of a request. `claims` are what the agent says of its own, the one that counts first."""
        remote = [context for one in claims if (context := _remote(claimed(*one)))]
        parent = Context()
        if remote and self._trust:
            parent = set_span_in_context(NonRecordingSpan(remote.pop(0)), parent)
        return Trace(self, method, attributes, name, parent, remote)


class Trace:
    """One request's span, entered while it is carried out."""

    __slots__ = (
        "_attribute",
        "_attributes",
        "_context",
        "_error",
        "_method",
        "_name",
        "_served",
        "_span",
        "_started",
        "_tracing",
    )

    def __init__(
        self,
        tracing: Tracing,
        method: str,
        attributes: Attributes,
        name: str | None,
        parent: Context,
        linked: Iterable[SpanContext],
    ) -> None:
        self._tracing = tracing
        self._method = method
        self._name = name[:MAX_CHARACTERS] if name is not None else None
        self._attributes: Attributes = {"mcp.method.name": method, **attributes}
        if method == CALL:
            self._attributes["gen_ai.operation.name"] = "execute_tool"
        self._attribute = NAMED_AS.get(method)
        named: Attributes = {self._attribute: self._name} if self._attribute and self._name is not None else {}
        # Named by the method alone, because what an agent asks for can be anything; renamed once there is such a tool.
        self._span = tracing.tracer.start_span(
            method,
            context=parent,
            kind=SpanKind.SERVER,
            attributes={**self._attributes, **named},
            links=[Link(one) for one in linked],
        )
        self._context = set_span_in_context(self._span, parent)
        self._started = time.perf_counter()
        self._served: Span | None = None
        self._error: str | None = None

    def decided(self, seconds: float, verdict: Verdict | None) -> None:
        """Note a decision that was there just now, or that could not be had, and how long that took."""
        if not self._span.is_recording():
            return
        now = time.time_ns()
        span = self._tracing.tracer.start_span(
            "portcullis.decide", context=self._context, start_time=now - int(seconds * NANOSECONDS)
        )
        if verdict is None:
            _fail(span, "decision_unavailable")
        else:
            span.set_attributes({"portcullis.allow": verdict.allow, "portcullis.revision": verdict.revision})
        span.end(end_time=now)

    def onward(self, meta: Mapping[str, Any], ref: Ref) -> Mapping[str, Any]:
        """Begin the server's part, and return the `_meta` to send there: as it came, with a trace context of ours."""
        span = self._span
        if span.is_recording():
            attributes: Attributes = {"mcp.method.name": self._method, "portcullis.server": ref.server}
            if self._method == CALL:
                attributes["gen_ai.operation.name"] = "execute_tool"
            if self._attribute is not None:
                # Of what is read through a template, that is the template.
                attributes[self._attribute] = ref.name
            span = self._served = self._tracing.tracer.start_span(
                self._title(ref.name), context=self._context, kind=SpanKind.CLIENT, attributes=attributes
            )
        carrier: dict[str, str] = {}
        W3C.inject(carrier, set_span_in_context(span, Context()))
        return replaced(meta, carrier, self._tracing.baggage)

    def _title(self, name: str | None) -> str:
        """Return what a span is called: URIs would be too many."""
        return self._method if self._attribute in (None, READ_AS) else f"{self._method} {name}"

    def noted(self, event: AuditEvent) -> None:
        """Take from the audit event what came of the request, and end the server's part with it."""
        target = event.target
        known = self._attribute is not None and "id" in target
        if self._method == CALL and known and self._name is not None:
            self._attributes["gen_ai.tool.name"] = self._name
        if target.get("is_error"):
            self._error = TOOL_ERROR
        elif event.outcome == "error":
            self._error = event.reason or FAILED
        if self._served is not None:
            if self._error is not None:
                _fail(self._served, self._error)
            self._served.end()
            self._served = None
        if self._span.is_recording():
            if known:
                self._span.update_name(self._title(self._name))
                self._span.set_attribute("portcullis.server", target["server"])
            self._span.set_attribute("portcullis.outcome", event.outcome)
            if event.reason:
                # Custom policy may write what a caller sent into it.
                self._span.set_attribute("portcullis.reason", event.reason[:MAX_CHARACTERS])

    def failed_with(self, code: int) -> None:
        """Note the JSON-RPC error that the request is answered with, by its code."""
        self._error = str(code)
        self._attributes["rpc.response.status_code"] = str(code)
        self._span.set_attribute("rpc.response.status_code", str(code))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._fail(error)
        if self._error is not None:
            self._attributes["error.type"] = self._error
            _fail(self._span, self._error)
        if self._served is not None:
            self._served.end()
            self._served = None
        self._span.end()
        if self._tracing.measured is not None:
            measured = {key: value for key, value in self._attributes.items() if key in MEASURED_BY}
            self._tracing.measured(time.perf_counter() - self._started, measured)

    def _fail(self, error: BaseException) -> None:
        code = self._tracing.code_of(error)
        if code is not None:
            self.failed_with(code)
        elif self._error is None:
            self._error = next((said for kind, said in ERRORS.items() if isinstance(error, kind)), FAILED)


# What has no code in JSON-RPC: a refusal that the agent may know of is an answer with `isError`.
ERRORS: Mapping[type[BaseException], str] = {
    NotPermitted: TOOL_ERROR,
    InvalidCredential: "invalid_credential",
    asyncio.CancelledError: "cancelled",
}
# What durations are told apart by: nothing that an agent can choose freely.
MEASURED_BY = frozenset(
    {
        "mcp.method.name", "gen_ai.operation.name", "gen_ai.tool.name", "mcp.protocol.version", "error.type",
        "rpc.response.status_code", "network.transport", "network.protocol.name",
    }
)  # fmt: skip


def _fail(span: Span, error: str) -> None:
    span.set_attribute("error.type", error)
    span.set_status(StatusCode.ERROR)


def _remote(carrier: Mapping[str, str]) -> SpanContext | None:
    if not carrier:
        return None
    context = get_current_span(W3C.extract(carrier, Context())).get_span_context()
    return context if context.is_valid else None
