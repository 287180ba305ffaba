"""What was measured, as values; percentiles and ratios, and the budgets that they are held against."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.generator import Outcome

# Microseconds of CPU for one request, of the gateway by question and of OPA for a call; OPA has none for lists.
GATEWAY_BUDGET_US = {"list 50": 200, "call": 500}
OPA_BUDGET_US = {"call": 250}
# Microseconds of the gateway's CPU for one of a thousand notifications of a streamed call.
NOTIFICATION_BUDGET_US = 20
# Memory of the gateway for one stream that is open and says nothing.
STREAM_BUDGET_KB = 20
READY_BUDGET_SECONDS = 3.0
ENFORCED_BUDGET_MS = 100.0


@dataclass(slots=True)
class Cell:
    """All slices of one question on one side at one concurrency."""

    ask: str
    concurrency: int
    side: str
    seconds: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)
    latencies: list[int] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=dict)
    cheapest: dict[str, float] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        """Add a slice."""
        self.seconds += outcome.seconds
        self.errors.update(outcome.errors)
        self.latencies += outcome.latencies
        requests = max(1, len(outcome.latencies))
        for part, seconds in outcome.cpu.items():
            self.cpu[part] = self.cpu.get(part, 0.0) + seconds
            self.cheapest[part] = min(self.cheapest.get(part, math.inf), seconds / requests)

    @property
    def requests(self) -> int:
        """How many good answers there were."""
        return len(self.latencies)

    def cpu_us(self, part: str) -> float:
        """Return the CPU microseconds that a process spent for one request."""
        return self.cpu.get(part, 0.0) / max(1, self.requests) * 1e6

    def document(self) -> dict[str, Any]:
        """Return the figures for machines: latencies in milliseconds, CPU in microseconds for one request."""
        return {
            "ask": self.ask,
            "concurrency": self.concurrency,
            "side": self.side,
            "requests": self.requests,
            "errors": dict(self.errors.most_common(5)),
            "requests_per_second": round(self.requests / self.seconds, 1) if self.seconds else 0.0,
            "p50_ms": round(percentile(self.latencies, 50) / 1000, 3),
            "p99_ms": round(percentile(self.latencies, 99) / 1000, 3),
            "cpu_us": {part: round(self.cpu_us(part), 1) for part in self.cpu},
            "cheapest_slice_cpu_us": {part: round(each * 1e6, 1) for part, each in self.cheapest.items()},
            "budget_us": {"gateway": GATEWAY_BUDGET_US.get(self.ask), "opa": OPA_BUDGET_US.get(self.ask)},
        }


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` percent of all do not exceed (nearest rank); NaN where there are none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(len(values) * share / 100) - 1)]


def spread(values: Iterable[float]) -> dict[str, float]:
    """Return how many there are, their median, 99th percentile and greatest."""
    every = sorted(values)
    if not every:
        return {"n": 0}
    figures = {"p50": percentile(every, 50), "p99": percentile(every, 99), "max": every[-1]}
    return {"n": len(every)} | {name: round(value, 2) for name, value in figures.items()}
