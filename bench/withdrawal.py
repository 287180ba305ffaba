"""How long a withdrawn tool can still be seen or called: from the admin's request to the first answers that know it.

    python -m bench.withdrawal             # a hundred withdrawals idle, then a hundred under load; well under a minute
    python -m bench.withdrawal --quick

Each trial withdraws one tool from one tenant while a list and a call of that tenant are repeated every 5 ms,
then restores it the same way. Under load, agents of another tenant make calls at a bounded rate. As soon as the admin
is told that every replica enforces it, one list and one call are sent and must know it; those that do not are counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import uvloop

from bench import asking, report
from bench.figures import percentile, spread
from bench.generator import generator
from bench.load import Job, connect
from bench.processes import load_average
from bench.stack import server_of, started

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.asking import Ask
    from bench.generator import Generator
    from bench.load import Connection
    from bench.stack import Stack

SERVER, LOADED_SERVER = 4, 50
TOOL = asking.tool_name(SERVER, 0)
LOAD_CONNECTIONS = 16
# Often enough to see it within the noise, seldom enough to leave the machine to what is measured.
POLL_SECONDS = 0.005
GIVEN_UP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Probe:
    """A request of an agent, and whether its answer shows the tool."""

    connection: Connection
    request: bytes
    shows: Callable[[bytes], bool]

    async def sees(self) -> bool | None:
        """Ask once; None where nothing was decided (503), which shows nothing and proves nothing."""
        status, body = await self.connection.send(self.request)
        if status not in (200, 503):
            raise asking.WrongAnswer(f"{status} {body[:300]!r}")
        return self.shows(body) if status == 200 else None

    async def seconds_until(self, visible: bool, since: float) -> float:
        """Repeat the request until the answer is as wanted; return when that answer came, in seconds after `since`."""
        async with asyncio.timeout(GIVEN_UP_SECONDS):
            while True:
                if await self.sees() is visible:
                    return time.perf_counter() - since
                await asyncio.sleep(POLL_SECONDS)


class Trials:
    """Withdrawals and restorations in turn: what they took, and how often an answer did not know it afterwards.

    `unapplied` counts admin answers that not every replica had acknowledged in time (202), `undecided` those that OPA
    gave no decision for (503), which are asked again.
    """

    def __init__(
        self, admin: Connection, key: str, port: int, watching: Sequence[Probe], after: Sequence[Probe]
    ) -> None:
        self._admin = admin
        self._key = key
        self._port = port
        self._watching = watching
        self._after = after
        self.milliseconds: dict[str, list[float]] = defaultdict(list)
        self.late = 0
        self.unapplied = 0
        self.undecided = 0

    async def run(self, count: int, seconds: float) -> None:
        """Do up to `count` trials in up to `seconds`."""
        until = time.perf_counter() + seconds
        for _ in range(count):
            if time.perf_counter() > until:
                return
            for verb, visible in (("withdraw", False), ("restore", True)):
                await self._trial(verb, visible)

    async def _trial(self, verb: str, visible: bool) -> None:
        since = time.perf_counter()
        watching = (probe.seconds_until(visible, since) for probe in self._watching)
        answered, listed, called = await asyncio.gather(self._change(verb, visible, since), *watching)
        took = {"admin answered": answered, "list knows": listed, "call knows": called}
        for name, value in took.items():
            self.milliseconds[f"{verb}, {name}"].append(value * 1000)

    async def _change(self, verb: str, visible: bool, since: float) -> float:
        path = f"/api/admin/tools/{server_of(SERVER)}/{TOOL}/{verb}"
        headers = {"Content-Type": "application/json", "X-API-Key": self._key}
        body = json.dumps({"tenant_id": f"tenant:{SERVER}"})
        request = Job(self._port, path, headers, body, 1).request()
        while (answer := await self._admin.send(request))[0] == 503:
            self.undecided += 1
            if time.perf_counter() - since > GIVEN_UP_SECONDS:
                break
        status, text = answer
        answered = time.perf_counter() - since
        if status not in (200, 202):
            raise asking.WrongAnswer(f"{verb}: {status} {text[:300]!r}")
        if status == 202:
            self.unapplied += 1
        else:
            known = await asyncio.gather(*(probe.sees() for probe in self._after))
            self.late += sum(seen is (not visible) for seen in known)
        return answered


def lists_the_tool(body: bytes) -> bool:
    """Say whether an answer to `tools/list` has the tool."""
    return f'"{TOOL}"'.encode() in body


def runs_the_tool(body: bytes) -> bool:
    """Say whether an answer to `tools/call` is a result."""
    return b'"structuredContent"' in body


async def probes(stack: Stack) -> tuple[Probe, Probe]:
    """Return a list and a call of the tenant, each on a connection of its own."""

    async def probe(ask: Ask, shows: Callable[[bytes], bool]) -> Probe:
        job = Job(**stack.gateway.job(ask, "legacy", 1))
        return Probe(await connect(job.host, job.port), job.request(), shows)

    return (
        await probe(asking.listing(SERVER), lists_the_tool),
        await probe(asking.calling(SERVER), runs_the_tool),
    )


async def trials(stack: Stack, count: int, seconds: float) -> Trials:
    """Do the trials of one phase."""
    watching, after = await probes(stack), await probes(stack)
    admin = await connect("127.0.0.1", stack.gateway.port)
    done = Trials(admin, stack.admin_key, stack.gateway.port, watching, after)
    try:
        await done.run(count, seconds)
    finally:
        for connection in (admin, *(probe.connection for probe in (*watching, *after))):
            connection.close()
    return done


def phase(name: str, done: Trials, note: str) -> dict[str, Any]:
    """Return the figures of a phase."""
    counts = {"late": done.late, "unapplied": done.unapplied, "undecided": done.undecided}
    note += "after the admin was told, {late} answers did not know it; admin answers 202: {unapplied}, 503: {undecided}"
    figures = {each: spread(values) for each, values in done.milliseconds.items()}
    return {"phase": name, "milliseconds": figures, **counts, "note": note.format_map(counts)}


def loaded(stack: Stack, load: Generator, options: argparse.Namespace) -> dict[str, Any]:
    """Do the trials while agents of another tenant make calls."""
    ask = asking.calling(LOADED_SERVER)
    job = stack.gateway.job(ask, "legacy", LOAD_CONNECTIONS)
    load.prepare(ask, job | {"rate": options.rate, "seconds": options.seconds})
    load.go()
    # The trials end first, so that none of them is idle.
    done = uvloop.run(trials(stack, options.trials, options.seconds - 1))
    calls = load.outcome()
    rate, latencies = len(calls["latencies"]) / calls["seconds"], calls["latencies"]
    p50, p99 = (percentile(latencies, share) / 1000 for share in (50, 99))
    note = (
        f"{rate:.0f} calls/s beside it (p50 {p50:.1f} ms, p99 {p99:.1f} ms, {sum(calls['errors'].values())} errors); "
    )
    return phase("under load", done, note)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Start everything, do both phases, and return all figures."""
    before = load_average()
    with started() as stack, generator() as load:
        phases = [phase("idle", uvloop.run(trials(stack, options.trials, options.seconds)), "")]
        phases.append(loaded(stack, load, options))
    return {
        "machine": report.this_machine(),
        "load_average": [round(before, 2), round(load_average(), 2)],
        "phases": phases,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 where an answer did not know what the admin had been told."""
    parser = argparse.ArgumentParser(prog="python -m bench.withdrawal", description="Measure withdraw → enforced.")
    parser.add_argument("--quick", action="store_true", help="ten trials of each")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--trials", type=int, default=100, help="trials of each phase at most (default: 100)")
    parser.add_argument("--seconds", type=float, default=20.0, help="seconds of each phase at most (default: 20)")
    parser.add_argument("--rate", type=float, default=300.0, help="calls a second under load (default: 300)")
    options = parser.parse_args(arguments)
    if options.quick:
        options.trials, options.seconds = 10, 4.0
    figures = run(options)
    report.show(figures, report.withdrawal, as_json=options.json)
    return 1 if any(each["late"] for each in figures["phases"]) else 0


if __name__ == "__main__":
    sys.exit(main())
