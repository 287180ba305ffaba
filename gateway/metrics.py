"""Prometheus metrics: a fold over audit events, and a few gauges of state. Latencies are in seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from gateway.series import Counter, Histogram

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model import AuditEvent

OTHER = "other"
CUSTOM = "custom"
MAX_CODES = 100
MAX_CODE_LENGTH = 128
DECISION_BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)
UPSTREAM_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
DECISION_EVENTS = frozenset(
    {"AuthorizationGranted", "AuthorizationDenied", "ToolCalled", "ToolWithdrawn", "ToolRestored"}
)


class Metrics:
    """The gateway's series. `known_tenant` bounds the tenant label: what it does not know is `other` (A63)."""

    def __init__(self, known_tenant: Callable[[str], bool]) -> None:
        self._known_tenant = known_tenant
        self._codes: set[str] = set()
        self.registry = CollectorRegistry()
        self._requests = Counter(
            self.registry, "portcullis_http_requests", "HTTP requests by route and status.", ("route", "status")
        )
        self._events = Counter(
            self.registry,
            "portcullis_events",
            "Audit events by type, outcome and reason.",
            ("type", "outcome", "reason"),
        )
        self._decisions = Counter(
            self.registry,
            "portcullis_decisions",
            "Decisions by action, outcome and tenant.",
            ("action", "outcome", "tenant"),
        )
        self._decision_seconds = Histogram(
            self.registry,
            "portcullis_decision_seconds",
            "Time until OPA's decision was there.",
            ("action",),
            DECISION_BUCKETS,
        )
        self._upstream_seconds = Histogram(
            self.registry,
            "portcullis_upstream_seconds",
            "Time until a server had answered a call.",
            ("server", "outcome"),
            UPSTREAM_BUCKETS,
        )

    def answered(self, route: str, status: int) -> None:
        """Count one HTTP response; `route` is the pattern that matched, never the path that was sent."""
        self._requests.add((route, str(status)))

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Add a gauge whose value is looked up when it is asked for."""
        Gauge(f"portcullis_{name}", text, registry=self.registry).set_function(value)

    def observe(self, event: AuditEvent) -> None:
        """Count one event."""
        self._events.add((event.type, event.outcome, self._reason(event)), event.count)
        if event.type not in DECISION_EVENTS:
            return
        action = str(event.target.get("action", ""))
        tenant = event.tenant if event.tenant and self._known_tenant(event.tenant) else OTHER if event.tenant else ""
        self._decisions.add((action, event.outcome, tenant))
        if (seconds := event.policy.get("seconds")) is not None:
            self._decision_seconds.observe((action,), seconds)
        if (seconds := event.target.get("seconds")) is not None:
            self._upstream_seconds.observe((event.target["server"], event.outcome), seconds)

    def _reason(self, event: AuditEvent) -> str:
        """Return the reason's label. Custom policy may write what a caller sent into a code: so many are told apart."""
        code = event.reason or ""
        if event.policy.get("layer") != CUSTOM or code in self._codes:
            return code
        if len(self._codes) >= MAX_CODES or len(code) > MAX_CODE_LENGTH:
            return OTHER
        self._codes.add(code)
        return code

    def exposition(self) -> bytes:
        """Return every series in the Prometheus text format, version 0.0.4."""
        return generate_latest(self.registry)
