"""Processes that the measurements start, and what the kernel says of their cost. Linux only."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(arguments: list[str], log: Path, *, grace: float = 10.0) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command with its output in a file, and end it: SIGTERM first, SIGKILL after `grace` seconds."""
    with log.open("ab") as output:
        process = subprocess.Popen(arguments, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield process
    finally:
        stop(process, grace)


def stop(process: subprocess.Popen[bytes], grace: float = 10.0) -> None:
    """End a process that this one started; one that has to be killed takes its children along."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        left = descendants(process.pid)
        process.kill()
        process.wait()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def until(condition: Callable[[], bool], seconds: float, what: str, log: Path | None = None) -> float:
    """Wait until `condition` holds and return how long it took; RuntimeError with the log's end if it never does."""
    started = time.perf_counter()
    while not condition():
        if time.perf_counter() - started > seconds:
            tail = log.read_text(errors="replace")[-2000:] if log is not None and log.exists() else ""
            raise RuntimeError(f"{what} did not come true within {seconds:g} s\n{tail}")
        time.sleep(0.01)
    return time.perf_counter() - started


def cpu_seconds(pid: int) -> float:
    """Return the CPU time, user and system, of all threads that a process ever had, to the nanosecond.

    It is the clock of clock_getcpuclockid(3); /proc/<pid>/stat tells the same in ticks of 10 ms.
    """
    return time.clock_gettime((~pid << 3) | 2)


def resident_now_mib(pid: int) -> float:
    """Return the memory that a process holds now, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split(maxsplit=1)[0]) / 1024


def resident_mib(pid: int) -> float:
    """Return the most memory that a process has held so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) / 1024


def descendants(pid: int) -> dict[int, list[str]]:
    """Return the command lines of a process's children, and of theirs, by process id."""
    found: dict[int, list[str]] = {}
    for child in children(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found[child] = Path(f"/proc/{child}/cmdline").read_text().split("\0")[:-1]
            found |= descendants(child)
    return found


def children(pid: int) -> list[int]:
    """Return the process ids of a process's children, whichever thread started them."""
    found: list[int] = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += map(int, tasks.read_text().split())
    return found


def load_average() -> float:
    """Return the load of the last minute, which says how much else the machine was doing."""
    return os.getloadavg()[0]
