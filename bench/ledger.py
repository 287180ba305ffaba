"""What the ledger costs: an audit event by the size of its group, a mutation, hearing of one, and verifying the trail.

    python -m bench.ledger                               # SQLite, on the temporary folder's disk; half a minute
    python -m bench.ledger --postgresql postgresql://…    # and PostgreSQL, in an empty schema
    python -m bench.ledger --quick

CPU is this process's: SQLite does its work in it, PostgreSQL in processes of its own. What an event costs is mostly its
transaction, which is why events of decisions are committed in groups.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop
from rich.table import Table

from bench.figures import spread
from bench.report import console
from bench.report import show as show_figures
from gateway import audit
from gateway.ids import Ref
from gateway.ledger import rows
from gateway.ledger.chain import ORIGIN, columns, event_hash
from gateway.ledger.connect import open_ledger
from gateway.model import AuditEvent, Withdrawal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.ledger import Ledger

GROUPS = (1, 10, 100, 1000)
ACTOR = {"principal": "user:agent", "kind": "jwt", "issuer": "https://auth.example.com", "credential_id": None}
TARGET = {"action": "tools/call", "view": "flat", "name": "charge", "id": "payments/charge", "server": "payments"}
POLICY = {"allow": True, "revision": 42, "epoch": "e" * 32, "stale": False, "layer": None, "reasons": []}


@dataclass(slots=True)
class Cost:
    """What something took, by the clock and of this process's CPU, and how often it was done."""

    wall: float
    cpu: float
    count: int

    @property
    def figures(self) -> dict[str, float]:
        """What is printed: how many a second, and microseconds of CPU each."""
        return {"per_second": self.count / self.wall, "cpu_us": self.cpu / self.count * 1e6}


class Meter:
    """Measures what is done while it is entered."""

    def __enter__(self) -> Meter:
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self._wall, self._cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu

    def cost(self, count: int) -> Cost:
        """Return what each of so many things took."""
        return Cost(self._wall, self._cpu, count)


def events(count: int) -> list[AuditEvent]:
    """Return events as calls leave them."""
    source = {"ip": "10.0.0.1", "request_id": "0193f0a0-0000-7000-8000-000000000000"}
    more = {"tenant": "tenant:a", "actor": ACTOR, "source": source, "target": TARGET, "policy": POLICY}
    return [audit.event("ToolCalled", "success", latency_ms=12.5, **more) for _ in range(count)]


def chaining(count: int) -> Cost:
    """Encode and chain events without any ledger: what of an event's cost no database has a part in."""
    made, hash_ = events(count), ORIGIN
    with Meter() as meter:
        for number, one in enumerate(made, start=1):
            body = rows.body_of(one)
            hash_ = event_hash(hash_, number, body)
            columns(one.time, one.type, one.outcome, one.tenant, one.reason, one.actor, one.target)
    return meter.cost(count)


async def appending(ledger: Ledger, group: int, total: int) -> Cost:
    """Append events in groups of one size."""
    made = events(group)
    times = max(3, min(total, 20 * group * 50) // group)
    await ledger.append_audit(made)
    with Meter() as meter:
        for _ in range(times):
            await ledger.append_audit(made)
    return meter.cost(times * group)


async def mutating(ledger: Ledger, count: int) -> Cost:
    """Withdraw so many tools, one after the other."""
    with Meter() as meter:
        for number in range(count):
            withdrawal = Withdrawal(Ref.of_tool("payments", f"tool_{number}"), None, "user:root", 1)
            await ledger.withdraw(withdrawal, events(1)[0])
    return meter.cost(count)


async def hearing(ledger: Ledger, other: Ledger, count: int) -> list[float]:
    """Return how long after a commit another opening of the ledger hears of it, in milliseconds."""
    took = []
    while await other.changed(0.3):
        pass
    for number in range(count):
        waiting = asyncio.create_task(other.changed(5))
        await asyncio.sleep(0.03)
        await ledger.withdraw(Withdrawal(Ref.of_tool("heard", f"{number}"), None, "user:root", 1), events(1)[0])
        committed = time.perf_counter()
        await waiting
        took.append((time.perf_counter() - committed) * 1000)
    return took


async def measured(url: str, total: int) -> dict[str, Any]:
    """Return all figures of one ledger."""
    ledger, other = await open_ledger(url), await open_ledger(url)
    try:
        found = {f"event, in groups of {group}": (await appending(ledger, group, total)).figures for group in GROUPS}
        found["mutation with its event"] = (await mutating(ledger, max(10, total // 100))).figures
        heard = spread(await hearing(ledger, other, max(10, total // 1000)))
        with Meter() as meter:
            verified = await ledger.audit_chain()
        found["event, verified"] = meter.cost(verified.events).figures
        return {"costs": found, "heard_ms": heard, "breaks": len(verified.breaks)}
    finally:
        await ledger.close()
        await other.close()


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure every ledger that there is."""
    figures: dict[str, Any] = {"encoding and chain alone": chaining(options.events).figures, "ledgers": {}}
    with tempfile.TemporaryDirectory(prefix="portcullis-bench-") as folder:
        urls = {"sqlite": f"sqlite:///{Path(folder) / 'ledger.db'}"}
        if options.postgresql:
            urls["postgresql"] = options.postgresql
        for name, url in urls.items():
            figures["ledgers"][name] = uvloop.run(measured(url, options.events))
    return figures


def show(figures: dict[str, Any]) -> None:
    """Print the figures as a table."""
    out, alone = console(), figures["encoding and chain alone"]
    for name, found in figures["ledgers"].items():
        table = Table(box=None, pad_edge=False, header_style="bold", title=name, title_justify="left")
        for column in ("what", "each second", "µs CPU"):
            table.add_column(column, justify="left" if column == "what" else "right")
        for what, cost in found["costs"].items():
            table.add_row(what, f"{cost['per_second']:,.0f}", f"{cost['cpu_us']:.1f}")
        out.print(table)
        heard = found["heard_ms"]
        out.print(f"another process hears of a commit after p50 {heard['p50']} ms, p99 {heard['p99']} ms")
    out.print(f"of each event, encoding and chain: {alone['cpu_us']:.1f} µs CPU")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 where the trail that was written does not verify."""
    parser = argparse.ArgumentParser(prog="python -m bench.ledger", description="Measure what the ledger costs.")
    parser.add_argument("--postgresql", help="the address of an empty schema")
    parser.add_argument("--events", type=int, default=20_000, help="events of each size of group at most")
    parser.add_argument("--quick", action="store_true", help="a tenth of that")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args(arguments)
    if options.quick:
        options.events //= 10
    figures = run(options)
    show_figures(figures, show, as_json=options.json)
    return 1 if any(found["breaks"] for found in figures["ledgers"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
