"""What one question to OPA costs the gateway in CPU: the client alone, and the whole PDP (question, client, answer).

    python -m bench.opa_client [--questions 20000] [--opa]

A stub in a process of its own answers a fixed decision on a unix socket, so that only the client's work is counted;
with `--opa` a real OPA answers from a constant rule instead. CPU is this process's (`time.process_time`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from gateway.errors import DecisionUnavailable
from gateway.ids import Mode
from gateway.model import CredentialKind, CredentialRef, Principal, Question, RequestInfo
from gateway.pdp import opa_binary
from gateway.pdp.client import OpaClient
from gateway.pdp.engine import Engine
from gateway.pdp.high_water import HighWaterMark
from gateway.pdp.pdp import Pdp
from gateway.pdp.question import encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

EPOCH = "0" * 32
PATH = "/v1/data/portcullis/call/decision?strict-builtin-errors"
DECISION = {
    "allow": True,
    "visible": True,
    "id": "payments/charge",
    "epoch": EPOCH,
    "revision": 42,
    "config": "c0ffeec0ffeec0ff",
    "stale": False,
    "reasons": [],
    "obligations": {},
}
RULE = f"package portcullis.call\ndecision := {json.dumps(DECISION)}\n"
JO = Principal("user:jo", CredentialKind.JWT, "tenant:a", "https://idp", ("data",), (), CredentialRef("c_17"))
CALL = Question("tools/call", JO, RequestInfo("0190", "10.0.0.1", 1790000000), name="charge", client={"name": "agent"})
ROUNDS = 5


class Stub(asyncio.Protocol):
    """Answers each write with one decision: the client writes a question at once."""

    answer = json.dumps({"result": DECISION}).encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(self.answer)}\r\n\r\n"
        self.whole = head.encode() + self.answer

    def data_received(self, data: bytes) -> None:  # noqa: ARG002
        self.transport.write(self.whole)  # type: ignore[attr-defined]


def serve_stub(path: str) -> None:
    async def serve() -> None:
        await asyncio.get_running_loop().create_unix_server(Stub, path)
        await asyncio.Event().wait()

    uvloop.run(serve())


@contextlib.asynccontextmanager
async def answering(folder: Path, real: bool) -> AsyncIterator[str]:
    """Yield the address of the stub, or of a real OPA, once it answers."""
    async with contextlib.AsyncExitStack() as stack:
        if real:
            (folder / "config.json").write_text("{}")
            (folder / "rule.rego").write_text(RULE)
            binary = opa_binary.find().path
            engine = Engine(binary, folder / "config.json", folder / "run", files=[folder / "rule.rego"])
            url = (await stack.enter_async_context(engine)).url
        else:
            url = f"unix://{folder}/stub"
            stub = multiprocessing.get_context("spawn").Process(target=serve_stub, args=(f"{folder}/stub",))
            stub.start()
            stack.callback(stub.terminate)
        await reachable(url)
        yield url


async def reachable(url: str) -> None:
    async with OpaClient(url, deadline=5) as client:
        while True:
            try:
                await client.query(PATH, b'{"input":{}}', lane="")
            except DecisionUnavailable:
                await asyncio.sleep(0.02)
            else:
                return


async def measure(what: str, ask: Callable[[], Awaitable[object]], at_once: int, questions: int) -> None:
    async def some() -> None:
        for _ in range(questions // at_once):
            await ask()

    costs, walls = [], []
    for _ in range(ROUNDS):
        gc.collect()
        cpu, wall = time.process_time(), time.perf_counter()
        await asyncio.gather(*(some() for _ in range(at_once)))
        costs.append((time.process_time() - cpu) / questions * 1e6)
        walls.append((time.perf_counter() - wall) / questions * 1e6)
    best, middle = min(costs), statistics.median(costs)
    print(f"{what:8} {at_once:3} at once: CPU {best:5.1f} µs best, {middle:5.1f} µs median; {min(walls):6.1f} µs each")


async def run(questions: int, real: bool) -> None:
    body = encode(CALL, Mode.FRONT_DOOR, custom=False, max_arguments_bytes=0)
    with tempfile.TemporaryDirectory(prefix="opa-") as name:
        folder = Path(name)
        async with answering(folder, real) as url, OpaClient(url, deadline=5) as client:
            mark = HighWaterMark(folder / "mark.json")
            pdp = Pdp(client, epoch=lambda: EPOCH, mark=mark, mode=Mode.FRONT_DOOR, custom_policy=lambda: False)
            print(f"{'real OPA' if real else 'stub'}, unix socket, uvloop, {len(body)} bytes a question")
            for at_once in (1, 32):
                await measure("client", lambda: client.query(PATH, body, lane="tenant:a"), at_once, questions)
                await measure("pdp", lambda: pdp.call(CALL), at_once, questions)
            await mark.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=20_000)
    parser.add_argument("--opa", action="store_true", help="ask a real OPA")
    options = parser.parse_args()
    uvloop.run(run(options.questions, options.opa))
