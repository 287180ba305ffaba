"""How long a revoked key is still good, at the gateway that revokes it and at another one on the same ledger.

    python -m bench.revocation                                 # a hundred keys; a quarter of a minute
    python -m bench.revocation --quick
    python -m bench.revocation --postgresql postgresql://…     # an empty schema, instead of a file of SQLite

Each trial makes a key at one gateway, waits until both let it in, and revokes it at the first while both are asked with
it every 5 ms. As soon as the admin is told that both enforce it, each is asked once more and must refuse; those that do
not are counted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop
import yaml

from bench import asking, report
from bench.figures import spread
from bench.load import connect
from bench.processes import ROOT, free_port, load_average, running, until
from bench.stack import KEYED, PORTCULLIS, READY_SECONDS, Tokens, backend, configuration, ready

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.load import Connection

POLL_SECONDS = 0.005
GIVEN_UP_SECONDS = 10.0
KEYS = "/api/auth/keys"
NEW = json.dumps({"principal": "service:bench", "name": "bench", "role": "viewer", "tenant_id": "tenant:4"})
LIST = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}})


def request(method: str, path: str, key: str, body: str = "") -> bytes:
    """Return a request with this key."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway, with a connection for the admin and one for whoever holds the key."""

    admin: Connection
    holder: Connection

    async def lets_in(self, key: str) -> bool:
        """Ask once with a key."""
        status, body = await self.holder.send(request("POST", "/mcp", key, LIST))
        # Whoever goes on asking with a key that is none is slowed down, which refuses it too.
        if status not in (200, 401, 429):
            raise asking.WrongAnswer(f"{status} {body[:300]!r}")
        return status == 200

    async def seconds_until(self, admitted: bool, key: str, since: float) -> float:
        """Ask with a key until the answer is as wanted; return when that answer came, in seconds after `since`."""
        async with asyncio.timeout(GIVEN_UP_SECONDS):
            while True:
                if await self.lets_in(key) is admitted:
                    return time.perf_counter() - since
                await asyncio.sleep(POLL_SECONDS)


class Trials:
    """Keys made and revoked in turn: what it took, and how often somebody did not know it afterwards."""

    def __init__(self, one: Gateway, other: Gateway, admin_key: str) -> None:
        self._one = one
        self._other = other
        self._key = admin_key
        self.milliseconds: dict[str, list[float]] = defaultdict(list)
        self.late = 0
        self.unapplied = 0

    async def run(self, count: int) -> None:
        """Do so many trials."""
        for _ in range(count):
            await self._trial()

    async def _trial(self) -> None:
        made = json.loads(await self._asked("POST", KEYS, (201, 202), NEW))
        since = time.perf_counter()
        await asyncio.gather(*(one.seconds_until(True, made["key"], since) for one in (self._one, self._other)))
        since = time.perf_counter()
        answered, here, there = await asyncio.gather(
            self._revoked(made, since),
            *(one.seconds_until(False, made["key"], since) for one in (self._one, self._other)),
        )
        for name, value in {"admin answered": answered, "refused here": here, "refused there": there}.items():
            self.milliseconds[f"revoke, {name}"].append(value * 1000)

    async def _revoked(self, made: dict[str, Any], since: float) -> float:
        unapplied = self.unapplied
        await self._asked("DELETE", f"{KEYS}/{made['id']}", (200, 202))
        answered = time.perf_counter() - since
        if self.unapplied == unapplied:
            known = await asyncio.gather(*(one.lets_in(made["key"]) for one in (self._one, self._other)))
            self.late += sum(known)
        return answered

    async def _asked(self, method: str, path: str, good: tuple[int, int], body: str = "") -> bytes:
        status, answer = await self._one.admin.send(request(method, path, self._key, body))
        if status not in good:
            raise asking.WrongAnswer(f"{method} {path}: {status} {answer[:300]!r}")
        self.unapplied += status == 202
        return answer


@contextlib.contextmanager
def two_gateways(storage: str | None) -> Iterator[tuple[list[int], str]]:
    """Run two gateways on one ledger and return their ports and an admin's key."""
    with tempfile.TemporaryDirectory(prefix="portcullis-bench-") as name, contextlib.ExitStack() as stack:
        folder, backend_port = Path(name), free_port()
        tokens, ports = Tokens.of(backend_port), [free_port(), free_port()]
        stack.enter_context(backend(folder, backend_port, tokens))
        url = storage or f"sqlite:///{folder / 'portcullis.db'}"
        key = ""
        for number, port in enumerate(ports, 1):
            more = {"opa": {"replica": f"gw-{number}"}, "storage": {"url": url}}
            file, log = folder / f"{number}.yaml", folder / f"{number}.log"
            file.write_text(yaml.safe_dump(configuration(tokens, backend_port, port) | more))
            where = ["--config", str(file), "--state-dir", str(folder / f"state-{number}")]
            key = key or made_key(where)
            gateway = stack.enter_context(running([PORTCULLIS, "up", *where], log, grace=30))
            until(lambda it=gateway, at=port, to=log: ready(it, at, to), READY_SECONDS, "a gateway's readiness", log)
        yield ports, key


def made_key(where: Sequence[str]) -> str:
    """Return a new key of an admin."""
    made = subprocess.run([PORTCULLIS, *KEYED, *where], cwd=ROOT, capture_output=True, check=True, timeout=60)
    return str(json.loads(made.stdout)["key"])


async def trials(ports: Sequence[int], key: str, count: int) -> Trials:
    """Do the trials."""
    connections = [await connect("127.0.0.1", port) for port in ports for _ in range(2)]
    one, other = Gateway(*connections[:2]), Gateway(*connections[2:])
    done = Trials(one, other, key)
    try:
        # The key was made beside the gateways, which take a moment to hear of it.
        await asyncio.gather(*(each.seconds_until(True, key, 0.0) for each in (one, other)))
        await done.run(count)
    finally:
        for connection in connections:
            connection.close()
    return done


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Start everything, do the trials, and return all figures."""
    before = load_average()
    with two_gateways(options.postgresql) as (ports, key):
        done = uvloop.run(trials(ports, key, options.trials))
    note = f"after the admin was told, {done.late} answers did not know it; admin answers 202: {done.unapplied}"
    figures = {name: spread(values) for name, values in done.milliseconds.items()}
    return {
        "machine": {"cpus": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()},
        "load_average": [round(before, 2), round(load_average(), 2)],
        "phases": [{"phase": "two gateways", "milliseconds": figures, "late": done.late, "note": note}],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 where somebody did not know what the admin had been told."""
    parser = argparse.ArgumentParser(prog="python -m bench.revocation", description="Measure revoke → refused.")
    parser.add_argument("--quick", action="store_true", help="ten trials")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--trials", type=int, default=100, help="how many keys (default: 100)")
    parser.add_argument("--postgresql", help="the address of an empty schema")
    options = parser.parse_args(arguments)
    if options.quick:
        options.trials = 10
    figures = run(options)
    report.show(figures, report.withdrawal, as_json=options.json)
    return 1 if any(each["late"] for each in figures["phases"]) else 0


if __name__ == "__main__":
    sys.exit(main())
