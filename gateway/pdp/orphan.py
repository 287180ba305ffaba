"""The trace that a supervised OPA leaves, by which a later start finds one that outlived its supervisor."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gateway.errors import EngineMissing
from gateway.state import write_whole


@dataclass(frozen=True, slots=True)
class Trace:
    """Which process serves on which address, and which process supervises it."""

    pid: int
    supervisor: int
    address: str


def leave(path: Path, trace: Trace) -> None:
    """Write the trace, whole or not at all."""
    write_whole(path, msgspec.json.encode(trace))


def read_trace(path: Path) -> Trace | None:
    """Return the trace, None where there is none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Trace)
    except (OSError, msgspec.DecodeError):
        return None


def sweep(path: Path) -> int | None:
    """Kill the OPA that the trace names if it still serves there and nobody supervises it; return its pid.

    A process is killed only if its command line has our address, in our private directory, as an argument: no other
    program has a reason to be started with that. Raises EngineMissing if its supervisor lives and still is its parent.
    """
    trace = read_trace(path)
    if trace is None:
        return None
    killed = trace.pid if _kill(trace) else None
    path.unlink(missing_ok=True)
    return killed


def _kill(trace: Trace) -> bool:
    if trace.pid <= 1:
        return False
    if not hasattr(os, "pidfd_open"):
        if not _serves(trace):
            return False
        os.kill(trace.pid, signal.SIGKILL)
        return True
    try:
        handle = os.pidfd_open(trace.pid)
    except OSError:
        return False
    try:
        # The handle keeps meaning this process, even if the number is given to another one after the check.
        if not _serves(trace):
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def _serves(trace: Trace) -> bool:
    if trace.address not in _command(trace.pid):
        return False
    if trace.supervisor == _parent(trace.pid):
        raise EngineMissing(f"process {trace.supervisor} already runs an OPA at {trace.address}")
    return True


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return _ps(pid, "command").split()


def _parent(pid: int) -> int | None:
    try:
        status = Path(f"/proc/{pid}/status").read_text(errors="replace")
        said = status.partition("\nPPid:")[2].partition("\n")[0].strip()
    except OSError:
        said = _ps(pid, "ppid").strip()
    return int(said) if said.isdecimal() else None


def _ps(pid: int, column: str) -> str:
    try:
        return subprocess.run(  # noqa: S603
            ["/bin/ps", "-o", f"{column}=", "-p", str(pid)], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
