"""What a flooding tenant costs the one beside it: the quiet one's latency with the flood and without, in one run.

    python -m bench.neighbours              # half a minute
    python -m bench.neighbours --quick      # a smoke test, its figures are noise

Slices alternate, so that what else the machine does falls on both. The quiet tenant calls a tool a hundred times a
second; the other asks on 64 connections without a pause, and is at its `requests_per_minute` all the while.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench import asking
from bench.figures import percentile
from bench.generator import generator
from bench.processes import load_average
from bench.stack import started, tenant_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.generator import Generator
    from bench.stack import Stack

QUIET, FLOOD = 50, 4
QUIET_RATE = 100.0
CONNECTIONS = 64
LIMITS = {"max_concurrent_requests": 10, "requests_per_minute": 600}
# Connections that all begin at once are a burst of their own, which lasts as long as the breath of its refusals.
SETTLING_SECONDS = 1.0
_STATUS = re.compile(r"\d{3}")


@dataclass(slots=True)
class Figures:
    """Latencies of the quiet tenant in microseconds, and what the flooding one was answered, by status."""

    alone: list[int] = field(default_factory=list)
    beside: list[int] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    flood: Counter[str] = field(default_factory=Counter)
    flood_seconds: float = 0.0

    def document(self) -> dict[str, Any]:
        """Return the figures for machines: latencies in milliseconds."""
        found = {
            name: {"requests": len(rows), **{f"p{p}_ms": round(percentile(rows, p) / 1000, 3) for p in (50, 99)}}
            for name, rows in (("alone", self.alone), ("beside the flood", self.beside))
        }
        ratio = percentile(self.beside, 99) / percentile(self.alone, 99)
        flood = {status: round(count / self.flood_seconds, 1) for status, count in sorted(self.flood.items())}
        return {"quiet": found, "p99_ratio": round(ratio, 2), "errors": dict(self.errors), "flood_per_second": flood}


def limited(config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration with limits for one of the tenants."""
    return {**config, "tenants": [{"id": tenant_of(FLOOD), "quotas": LIMITS}, {"id": tenant_of(QUIET)}]}


def measure(stack: Stack, quiet: Generator, flood: Generator, slices: int, seconds: float) -> Figures:
    """Return what slices with the flood and without came to."""
    figures = Figures()
    asks = asking.calling(QUIET), asking.calling(FLOOD)
    steady = stack.gateway.job(asks[0], "legacy", 1) | {"rate": QUIET_RATE, "seconds": seconds}
    flooding = stack.gateway.job(asks[1], "legacy", CONNECTIONS)
    # What may come at once has come before anything is measured; one request is left for the first answer.
    flood.measure(asks[1], flooding | {"count": LIMITS["requests_per_minute"] // 6 - 2}, stack.cpu)
    for _ in range(slices):
        alone = quiet.measure(asks[0], steady, stack.cpu)
        figures.alone += alone.latencies
        quiet.prepare(asks[0], steady)
        flood.prepare(asks[1], flooding | {"seconds": seconds + SETTLING_SECONDS + 0.2})
        flood.go()
        time.sleep(SETTLING_SECONDS)
        quiet.go()
        beside, answered = quiet.outcome(), flood.outcome()
        figures.beside += beside["latencies"]
        for errors in (alone.errors, beside["errors"]):
            figures.errors.update(errors)
        note(figures, answered)
    return figures


def note(figures: Figures, answered: dict[str, Any]) -> None:
    """Note what a slice of the flood was answered."""
    figures.flood["200"] += len(answered["latencies"])
    for text, count in answered["errors"].items():
        status = _STATUS.match(text)
        figures.flood[status[0] if status else "no answer"] += count
    figures.flood_seconds += answered["seconds"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 where the quiet tenant was ever answered anything else."""
    parser = argparse.ArgumentParser(prog="python -m bench.neighbours", description="Measure a flood's neighbour.")
    parser.add_argument("--quick", action="store_true", help="one slice of half a second each")
    parser.add_argument("--slices", type=int, default=6, help="slices of each kind (default: 6)")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a slice (default: 2)")
    options = parser.parse_args(arguments)
    slices, seconds = (1, 0.5) if options.quick else (options.slices, options.seconds)
    with started(adapt=limited) as stack, generator() as quiet, generator() as flood:
        figures = measure(stack, quiet, flood, slices, seconds)
    print(json.dumps({"load_average": round(load_average(), 2), **figures.document()}, indent=1))
    return 1 if figures.errors else 0


if __name__ == "__main__":
    raise SystemExit(main())
