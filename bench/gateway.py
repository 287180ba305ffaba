"""What the gateway costs: the same requests straight to a fast MCP server and through the gateway, in one run.

    python -m bench.gateway              # about a minute and a half
    python -m bench.gateway --quick      # under twenty seconds: a smoke test, its figures are noise
    python -m bench.gateway --json       # for machines

Everything runs on loopback, in processes of its own. Slices alternate between the two ways, so that what else the
machine does falls on both. Credentials are JWTs. CPU time, not wall time, is what the budgets are about: on a shared
machine throughput and latency say how loaded it was.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench import asking, report
from bench.figures import Cell
from bench.generator import generator
from bench.processes import load_average, resident_mib
from bench.stack import started

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.asking import Ask
    from bench.generator import Generator
    from bench.stack import Side, Stack

SLOW_CALLS = 64
SERVER = 50
ASKS = {ask.name: ask for ask in (*(asking.listing(count) for count in asking.COUNTS), asking.calling(SERVER))}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, and for how long: `slices` of `seconds` on each side, for each question and concurrency."""

    asks: tuple[Ask, ...]
    concurrencies: tuple[int, ...]
    slices: int
    seconds: float
    era: str

    @classmethod
    def of(cls, options: argparse.Namespace) -> Plan:
        """Return the plan that the command line asks for."""
        chosen = tuple(ASKS[name] for name in options.only or ASKS)
        if options.quick:
            return cls(chosen, tuple(options.concurrency), 1, 0.25, options.era)
        return cls(chosen, tuple(options.concurrency), options.slices, options.seconds, options.era)


def measure(plan: Plan, stack: Stack, load: Generator) -> list[Cell]:
    """Return one cell for each question, concurrency and side."""
    cells: list[Cell] = []
    for ask in plan.asks:
        for concurrency in plan.concurrencies:
            pair = [(side, Cell(ask.name, concurrency, side.name)) for side in (stack.direct, stack.gateway)]
            for _ in range(plan.slices):
                for side, cell in pair:
                    job = side.job(ask, plan.era, concurrency) | {"seconds": plan.seconds}
                    cell.add(load.measure(ask, job, stack.cpu))
            cells += [cell for _, cell in pair]
    return cells


def slow_calls(side: Side, stack: Stack, load: Generator, era: str) -> float:
    """Return how many seconds 64 calls at once of the tool that takes one second last; NaN where one failed."""
    ask = asking.calling_slow(SERVER)
    job = side.job(ask, era, SLOW_CALLS) | {"count": SLOW_CALLS}
    outcome = load.measure(ask, job, stack.cpu)
    return math.nan if outcome.errors or len(outcome.latencies) != SLOW_CALLS else outcome.seconds


def run(plan: Plan) -> dict[str, Any]:
    """Start everything, measure, and return all figures."""
    before = load_average()
    with started() as stack, generator() as load:
        cells = measure(plan, stack, load)
        slow = {side.name: round(slow_calls(side, stack, load, plan.era), 3) for side in (stack.direct, stack.gateway)}
        memory = {part: round(resident_mib(pid), 1) for part, pid in stack.pids.items()}
    return {
        "machine": report.this_machine(),
        "load_average": [round(before, 2), round(load_average(), 2)],
        "era": plan.era,
        "seconds_to_ready": round(stack.seconds_to_ready, 2),
        "peak_memory_mib": memory,
        "slow_calls": {"calls": SLOW_CALLS, "tool_seconds": asking.SLOW_SECONDS, "seconds": slow},
        "cells": [cell.document() for cell in cells],
    }


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(prog="python -m bench.gateway", description="Measure what the gateway costs.")
    made.add_argument("--quick", action="store_true", help="one slice of a quarter of a second each")
    made.add_argument("--json", action="store_true", help="print JSON instead of tables")
    made.add_argument("--slices", type=int, default=4, help="slices for each cell (default: 4)")
    made.add_argument("--seconds", type=float, default=0.8, help="length of a slice (default: 0.8)")
    made.add_argument("--concurrency", type=int, nargs="+", default=[1, 16, 64], metavar="N")
    made.add_argument("--only", nargs="+", choices=ASKS, help="these questions alone")
    made.add_argument("--era", choices=["legacy", "modern"], default="legacy", help="how the agent speaks")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 where an answer was wrong or missing."""
    options = parser().parse_args(arguments)
    figures = run(Plan.of(options))
    report.show(figures, report.gateway, as_json=options.json)
    return 1 if any(cell["errors"] for cell in figures["cells"]) else 0


if __name__ == "__main__":
    sys.exit(main())
