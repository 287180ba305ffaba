"""The load generator seen from the process that orders the measurements."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import orjson

from bench.processes import ROOT, stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.asking import Ask


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a job came to; `latencies` in microseconds, `cpu` in seconds by process."""

    seconds: float
    errors: dict[str, int]
    latencies: tuple[int, ...]
    cpu: dict[str, float]


class Generator:
    """One running load generator."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._orders: IO[bytes] = process.stdin
        self._reports: IO[bytes] = process.stdout

    def prepare(self, ask: Ask, job: dict[str, Any]) -> None:
        """Open a job's connections and see that the answer is the right one; raises WrongAnswer."""
        self._tell(orjson.dumps(job))
        first = self._report()
        ask.require(first["status"], first["body"].encode())

    def go(self) -> None:
        """Start the job that was prepared."""
        self._tell(b"go")

    def outcome(self) -> dict[str, Any]:
        """Wait for the end of the job and return what it wrote."""
        return self._report()

    def measure(self, ask: Ask, job: dict[str, Any], cpu: Callable[[], dict[str, float]]) -> Outcome:
        """Do one job, with the CPU that every process used meanwhile; the generator's own is `load`."""
        self.prepare(ask, job)
        before = cpu()
        self.go()
        done = self.outcome()
        used = {part: seconds - before[part] for part, seconds in cpu().items()}
        return Outcome(done["seconds"], done["errors"], tuple(done["latencies"]), used | {"load": done["cpu"]})

    def _tell(self, line: bytes) -> None:
        self._orders.write(line + b"\n")
        self._orders.flush()

    def _report(self) -> dict[str, Any]:
        line = self._reports.readline()
        if not line:
            raise RuntimeError(f"the load generator ended with status {self._process.wait()}")
        return dict(orjson.loads(line))


@contextlib.contextmanager
def generator() -> Iterator[Generator]:
    """Run a load generator until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.load"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield Generator(process)
    finally:
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        stop(process)
