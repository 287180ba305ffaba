"""The families of series that are counted as things happen: what each is called, and how far it can grow."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from gateway.series import Counter, Histogram

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.series import Labels

# How many combinations of labels a family tells apart. What is counted by tenant is bounded by the tenants there are;
# this is for when each of ten thousand is refused for every reason there is, or brings servers of its own along.
MAX_DECISIONS = 100_000
MAX_TOOLS = 50_000
MAX_SERVERS = 1_000
DECISION_BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)
UPSTREAM_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)


def _requests() -> Counter:
    return Counter("portcullis_http_requests", "HTTP requests by route and status.", ("route", "status"))


def _events() -> Counter:
    return Counter("portcullis_events", "Audit events by type, outcome and reason.", ("outcome", "reason", "type"))


def _decisions() -> Counter:
    labels = ("action", "outcome", "reason", "tenant")
    text = "Decisions by action, outcome, reason and tenant."
    return Counter("portcullis_decisions", text, labels, most=MAX_DECISIONS, folding=("tenant",))


def _stale() -> Counter:
    return Counter("portcullis_stale_decisions", "Decisions on data that is too old, and were served.", ("action",))


def _tool_calls() -> Counter:
    labels = ("outcome", "server", "tool")
    text = "Calls of tools by server, tool and what came of it."
    return Counter("portcullis_tool_calls", text, labels, most=MAX_TOOLS, folding=("server", "tool"))


def _request_seconds() -> Histogram:
    text = "Time until a request was answered."
    return Histogram("portcullis_request_seconds", text, ("action",), UPSTREAM_BUCKETS)


def _decision_seconds() -> Histogram:
    text = "Time until OPA's decision was there."
    return Histogram("portcullis_decision_seconds", text, ("action",), DECISION_BUCKETS)


def _upstream_seconds() -> Histogram:
    text, labels = "Time until a server had answered.", ("outcome", "server")
    return Histogram(
        "portcullis_upstream_seconds", text, labels, UPSTREAM_BUCKETS, most=MAX_SERVERS, folding=("server",)
    )


def _lag() -> Histogram:
    return Histogram("portcullis_event_loop_lag_seconds", "How late the event loop was.", (), LAG_BUCKETS)


@dataclass(frozen=True, slots=True)
class Families:
    """Every family that is counted by the way."""

    requests: Counter = field(default_factory=_requests)
    events: Counter = field(default_factory=_events)
    decisions: Counter = field(default_factory=_decisions)
    stale: Counter = field(default_factory=_stale)
    tool_calls: Counter = field(default_factory=_tool_calls)
    request_seconds: Histogram = field(default_factory=_request_seconds)
    decision_seconds: Histogram = field(default_factory=_decision_seconds)
    upstream_seconds: Histogram = field(default_factory=_upstream_seconds)
    lag: Histogram = field(default_factory=_lag)

    def every(self) -> Iterator[Counter | Histogram]:
        """Yield all of them."""
        for one in fields(self):
            yield getattr(self, one.name)

    def folded(self) -> Iterator[tuple[Labels, float]]:
        """Yield how often each limited family counted something under `other` for want of room."""
        for one in self.every():
            if one.limit.most is not None:
                yield (one.about.name,), one.limit.beyond
