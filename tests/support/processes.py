"""Processes for tests: started, watched, and gone at the end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

STOP_SECONDS = 10


@dataclass(frozen=True)
class Running:
    """A process whose standard output and error go to files."""

    popen: subprocess.Popen[bytes]
    out: Path
    err: Path

    def said_a_line(self) -> bool:
        """Whether a whole line is on its standard output; raises AssertionError if it ended instead."""
        if self.out.read_bytes().endswith(b"\n"):
            return True
        self.require()
        return False

    def require(self) -> None:
        """Raise AssertionError, with what it said, if it has ended."""
        assert self.popen.poll() is None, self.out.read_text() + self.err.read_text()


@contextlib.contextmanager
def running(
    command: Sequence[object], folder: Path, *, name: str = "process", environment: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """Run a command in `folder`; at the end it is asked to stop, and then made to."""
    out, err = folder / f"{name}.out", folder / f"{name}.err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        popen = subprocess.Popen(
            list(map(str, command)),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
    try:
        yield Running(popen, out, err)
    finally:
        popen.send_signal(signal.SIGTERM)
        try:
            popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait()


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        # It was there when the file was opened, perhaps, and not when it was read.
        return False
