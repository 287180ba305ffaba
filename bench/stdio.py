"""What servers and agents over stdio cost: CPU of a message, beside the official SDK's client in one run, and starts.

    python -m bench.stdio [--calls 4000] [--rounds 5]

A server that does nothing but answer runs as a process, asked by 16 tasks at once: by the pipe alone, by all that
stands between the corridor and the pipe, and by the SDK. Rounds alternate, so that what else the machine does falls on
all; CPU is this process's own (`time.process_time`), of the cheapest round and of the median.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop
from mcp import Client, StdioServerParameters

from gateway.ids import Ref
from gateway.model import CredentialKind, Principal
from gateway.upstream.call import Call
from gateway.upstream.owner import Owner
from gateway.upstream.pool import Upstreams
from gateway.upstream.processes import StdioServer
from gateway.upstream.target import StdioTarget

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TASKS = 16
# It looks at nothing but the id, so that what is measured is on this side.
SERVER = r"""
import re, sys
id_ = re.compile(rb'"id": ?([0-9]+)')
modern = b'"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private"'
tool = b'"ttlMs":0,"cacheScope":"private","tools":[{"name":"echo","inputSchema":{"type":"object"}}]'
text = b'"content":[{"type":"text","text":"%b"}]' % (b"x" * 200)
for line in iter(sys.stdin.buffer.readline, b""):
    if found := id_.search(line):
        body = modern if b"server/discover" in line else tool if b"tools/list" in line else text
        answer = b'{"jsonrpc":"2.0","id":%b,"result":{"resultType":"complete",%b}}\n' % (found[1], body)
        sys.stdout.buffer.write(answer)
        sys.stdout.buffer.flush()
"""
COMMAND = (sys.executable, "-IS", "-c", SERVER)
CALLER = Principal("user:bench", CredentialKind.JWT, "bench", "https://issuer.example.com")
ARGUMENTS = {"amount": 10, "currency": "EUR", "note": "y" * 100}
CALL = Call("tools/call", "echo", {"arguments": ARGUMENTS}, {}, CALLER, CALLER.identity)


async def by_each(stack: AsyncExitStack) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return the ways to call the server."""
    upstreams = Upstreams({"local": StdioTarget("local", COMMAND)})
    stack.push_async_callback(upstreams.close)
    ref = Ref.of_tool("local", "echo")
    await upstreams.call(ref, CALL)
    server = upstreams._generations.newest["local"]  # noqa: SLF001 (the pipe by itself is nobody else's to ask)
    assert isinstance(server, StdioServer)
    running = server._seats[Owner.of(CALLER)].running  # noqa: SLF001
    assert running is not None
    pipe, ids = running.pipe, count(10**9)
    params = json.dumps({"name": "echo", "arguments": ARGUMENTS}).encode()
    body = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":' + params.replace(b"%", b"%%") + b"}"
    client = await stack.enter_async_context(
        Client(StdioServerParameters(command=COMMAND[0], args=list(COMMAND[1:])), mode="auto")
    )

    async def by_pipe() -> object:
        id_ = next(ids)
        return await pipe.ask(id_, body % id_, {})

    return {
        "the pipe alone": by_pipe,
        "as the corridor calls": lambda: upstreams.call(ref, CALL),
        "the official SDK's client": lambda: client.call_tool("echo", ARGUMENTS),
    }


async def microseconds(call: Callable[[], Awaitable[object]], calls: int) -> float:
    """Return the CPU of one call, of so many by all tasks together."""

    async def some() -> None:
        for _ in range(calls // TASKS):
            await call()

    began = time.process_time()
    await asyncio.gather(*(some() for _ in range(TASKS)))
    return (time.process_time() - began) / (calls // TASKS * TASKS) * 1e6


async def costs(calls: int, rounds: int) -> dict[str, list[float]]:
    """Return the CPU of a call in microseconds, by way and round."""
    found: dict[str, list[float]] = {}
    async with AsyncExitStack() as stack:
        ways = await by_each(stack)
        for _ in range(rounds):
            for name, call in ways.items():
                found.setdefault(name, []).append(await microseconds(call, calls))
    return found


async def starts(rounds: int) -> tuple[list[float], float]:
    """Return how many milliseconds a first call takes that starts its process, and the guard's memory in MB."""
    took, memory = [], 0.0
    for _ in range(rounds):
        upstreams = Upstreams({"local": StdioTarget("local", COMMAND)})
        began = time.perf_counter()
        await upstreams.call(Ref.of_tool("local", "echo"), CALL)
        took.append((time.perf_counter() - began) * 1000)
        memory = guard_megabytes(upstreams)
        await upstreams.close()
    return took, memory


def guard_megabytes(upstreams: Upstreams) -> float:
    """Return what the guard of a process has in memory for itself."""
    server = upstreams._generations.newest["local"]  # noqa: SLF001
    assert isinstance(server, StdioServer)
    running = server._seats[Owner.of(CALLER)].running  # noqa: SLF001
    assert running is not None
    rollup = Path(f"/proc/{running.pipe.process.pid}/smaps_rollup").read_text()
    return sum(int(kb) for kb in re.findall(r"^Private_\w+: +(\d+) kB", rollup, re.MULTILINE)) / 1024


def agent_seconds() -> float:
    """Return how long `portcullis stdio` takes from its start to the first list, its server's start included."""
    server = {"mode": "stdio", "command": list(COMMAND)}
    config = {"tool_access": {"mode": "egress"}, "mcp_servers": {"local": server}, "logging": {"level": "error"}}
    request = b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}\n'
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(json.dumps(config))
        words = [sys.executable, "-m", "gateway", "stdio", "--config", str(path), "--state-dir", f"{folder}/state"]
        began = time.perf_counter()
        with subprocess.Popen(words, stdin=-1, stdout=-1, stderr=subprocess.DEVNULL) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(request)
            process.stdin.flush()
            answer = process.stdout.readline()
            took = time.perf_counter() - began
            process.stdin.close()
    assert b"local__echo" in answer, answer
    return took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"CPU of one call in µs, {TASKS} at once: cheapest round, median")
    for name, found in uvloop.run(costs(options.calls, options.rounds)).items():
        print(f"  {name:26} {min(found):6.1f} {statistics.median(found):6.1f}")
    took, memory = uvloop.run(starts(options.rounds))
    print(f"first call, which starts a process: {min(took):.0f} ms, median {statistics.median(took):.0f} ms")
    print(f"memory of its guard alone: {memory:.1f} MB")
    seconds = [agent_seconds() for _ in range(options.rounds)]
    print(f"portcullis stdio, start to first list: {min(seconds):.2f} s, median {statistics.median(seconds):.2f} s")


if __name__ == "__main__":
    main()
