"""What a notification costs on its way through, and what a stream costs on which nothing is said.

    python -m bench.streaming              # about a minute
    python -m bench.streaming --quick      # a smoke test, its figures are noise
    python -m bench.streaming --json

Each streamed call reports progress a thousand times, to an agent straight at a fast server and to one behind the
gateway. Slices alternate between the two ways, and between servers that write one
notification at a time, ten, and a hundred. CPU is that of the cheapest call and of the mean, divided by the
notifications; a call itself costs what `bench.gateway` says, and is in it. Then two thousand agents subscribe, and
nothing happens for a while.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
import uvloop

from bench import open_streams, report
from bench.asking import MODERN
from bench.figures import NOTIFICATION_BUDGET_US
from bench.processes import load_average
from bench.stack import started, tenant_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.stack import Side, Stack

SERVER = 50
NOTIFICATIONS = 1000
AT_ONCE = (1, 10, 100)
SECONDS = 30.0
END = b"0\r\n\r\n"
NEEDLE = b'"notifications/progress"'
TOKEN = "agent-7"


class Reader(asyncio.Protocol):
    """Reads one streamed answer after the other; counts its notifications and keeps none of it."""

    def __init__(self) -> None:
        self.seen = 0
        self._tail = b""
        self._done: asyncio.Future[int] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Count."""
        # One that came in two pieces begins in what is left of the piece before, which is too short for a whole one.
        self.seen += (self._tail[1 - len(NEEDLE) :] + data).count(NEEDLE)
        self._tail = (self._tail + data)[-2000:]
        if self._tail.endswith(END) and self._done is not None and not self._done.done():
            self._done.set_result(self.seen)

    def connection_lost(self, error: Exception | None) -> None:
        """Fail what is under way."""
        if self._done is not None and not self._done.done():
            self._done.set_exception(ConnectionError(f"closed before the answer: {error}"))

    async def call(self, request: bytes) -> int:
        """Send a call and return how many notifications came before its answer."""
        assert self._transport is not None
        self.seen, self._tail = 0, b""
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        async with asyncio.timeout(SECONDS):
            return await self._done

    @property
    def answered(self) -> bool:
        """Whether what came last was the answer."""
        return b'"structuredContent"' in self._tail

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


@dataclass(slots=True)
class Cell:
    """Every call on one side whose server wrote so many notifications at once; CPU in µs a notification."""

    side: str
    at_once: int
    costs: list[dict[str, float]] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """Return the figures for machines."""
        parts = self.costs[0].keys()
        return {
            "side": self.side,
            "at_once": self.at_once,
            "calls": len(self.costs),
            "cheapest_cpu_us": {part: round(min(one[part] for one in self.costs), 2) for part in parts},
            "mean_cpu_us": {part: round(sum(one[part] for one in self.costs) / len(self.costs), 2) for part in parts},
            "budget_us": NOTIFICATION_BUDGET_US,
        }


def request(side: Side, at_once: int) -> bytes:
    """Return a call as it goes over the wire."""
    name = f"stream_{SERVER}"
    meta = {
        "progressToken": TOKEN,
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": name, "arguments": {"count": NOTIFICATIONS, "at_once": at_once}, "_meta": meta}
    body = orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    path = "/mcp" if side.tokens is not None else f"/{SERVER}/mcp"
    lines = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{side.port}", f"Content-Length: {len(body)}"]
    lines += ["Content-Type: application/json", "Accept: application/json, text/event-stream"]
    lines += [f"MCP-Protocol-Version: {MODERN}", "Mcp-Method: tools/call", f"Mcp-Name: {name}"]
    if side.tokens is not None:
        lines.append(f"Authorization: Bearer {side.tokens.mint(tenant_of(SERVER))}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def measure(stack: Stack, calls: int) -> list[Cell]:
    """Return one cell for each side and way of writing."""
    loop, cells = asyncio.get_running_loop(), []
    for at_once in AT_ONCE:
        sides = [(side, Cell(side.name, at_once)) for side in (stack.direct, stack.gateway)]
        for _ in range(calls):
            for side, cell in sides:
                _, reader = await loop.create_connection(Reader, "127.0.0.1", side.port)
                # The first call on a connection pays for what is kept: it is not counted.
                for counted in (False, True):
                    before = stack.cpu()
                    seen = await reader.call(request(side, at_once))
                    if seen != NOTIFICATIONS or not reader.answered:
                        raise SystemExit(f"{side.name}: {seen} notifications, and the answer: {reader.answered}")
                    after = stack.cpu()
                    if counted:
                        cell.costs.append({part: (after[part] - before[part]) / seen * 1e6 for part in after})
                reader.close()
        cells += [cell for _, cell in sides]
    return cells


def run(calls: int, streams: int, seconds: float) -> dict[str, Any]:
    """Start everything, measure, and return all figures."""
    before = load_average()
    with started() as stack:
        cells = uvloop.run(measure(stack, calls))
        silent = uvloop.run(open_streams.measure(stack, streams, seconds))
    return {
        "machine": report.this_machine(),
        "load_average": [round(before, 2), round(load_average(), 2)],
        "notifications": NOTIFICATIONS,
        "cells": [cell.document() for cell in cells],
        "open": silent,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.streaming", description="Measure what a notification costs.")
    parser.add_argument("--quick", action="store_true", help="one call of each kind")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--calls", type=int, default=10, help="calls of each kind on each side (default: 10)")
    parser.add_argument("--streams", type=int, default=2000, help="how many are open at once (default: 2000)")
    parser.add_argument("--idle", type=float, default=30.0, metavar="SECONDS", help="for how long (default: 30)")
    options = parser.parse_args(arguments)
    figures = run(1, 50, 1.0) if options.quick else run(options.calls, options.streams, options.idle)
    report.show(figures, report.streaming, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
