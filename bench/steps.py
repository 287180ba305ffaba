"""What a request is made of: gateways that stop after each step of the way, measured in turns.

    python -m bench.steps                          # a list of 50 tools, 16 at once
    python -m bench.steps --ask call --concurrency 1

All of them run at the same time, and all but one are idle; that takes 0.3 GB for each of the seven. The cost of a step
is what its gateway takes more than the one before. From `decide` on they wait for OPA, and waking up is in the figures.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table

from bench import asking, report
from bench.figures import Cell
from bench.generator import generator
from bench.stack import started

if TYPE_CHECKING:
    from collections.abc import Sequence

STEPS = {
    "accept": "head read, routed, answered",
    "identify": "host, origin, size; credential; tenant; body taken",
    "read": "message parsed, era and headers compared",
    "decide": "question written, OPA asked, decision read",
    "carry out": "list put together, or server called; answer written",
    "record": "event made and counted",
    "write": "event written to the ledger, in groups",
}
ASKS = {ask.name: ask for ask in (*(asking.listing(count) for count in asking.COUNTS), asking.calling(50))}


@dataclass(frozen=True, slots=True)
class Cut(asking.Ask):
    """A question whose answer is none, because the gateway stops before it has one."""

    def require(self, status: int, body: bytes) -> None:
        """Take any good status."""
        if status != 200:
            raise asking.WrongAnswer(f"{self.name}: {status} {body[:300].decode(errors='replace')}")


def measured(ask: asking.Ask, concurrency: int, slices: int, seconds: float) -> dict[str, Cell]:
    """Return one cell for each step."""
    question = Cut(ask.name, ask.method, ask.count, ask.params)
    cells = {step: Cell(ask.name, concurrency, step) for step in STEPS}
    with contextlib.ExitStack() as opened:
        stacks = {step: opened.enter_context(started([sys.executable, "-m", "bench.cut", step])) for step in STEPS}
        load = opened.enter_context(generator())
        for _ in range(slices):
            for step, stack in stacks.items():
                job = stack.gateway.job(question, "legacy", concurrency) | {"seconds": seconds}
                cells[step].add(load.measure(question, job, stack.cpu))
    return cells


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.steps", description="Measure what a request is made of.")
    parser.add_argument("--ask", choices=ASKS, default="list 50")
    parser.add_argument("--concurrency", type=int, default=16, metavar="N")
    parser.add_argument("--slices", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=0.4, help="length of a slice (default: 0.4)")
    options = parser.parse_args(arguments)
    cells = measured(ASKS[options.ask], options.concurrency, options.slices, options.seconds)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("step", "what it is"):
        table.add_column(column)
    for column in ("µs", "together"):
        table.add_column(column, justify="right")
    before = 0.0
    for step, what in STEPS.items():
        together = cells[step].cheapest["gateway"] * 1e6
        table.add_row(step, what, f"{together - before:.0f}", f"{together:.0f}")
        before = together
    report.console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
