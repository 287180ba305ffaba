"""OPA as a supervised child: on a private unix socket, restarted when it ends, gone when the gateway is gone."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from gateway.child import GRACE_SECONDS, Child, Command
from gateway.errors import EngineMissing
from gateway.pdp import orphan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

LOG = logging.getLogger("portcullis.opa")

# sockaddr_un has room for 108 bytes with the NUL on Linux and for 104 on macOS.
MAX_SOCKET_PATH = 103
# All that OPA's Go runtime and TLS may need; nothing else of our environment, where secrets lie, is its business.
# A decision leaves garbage; collecting it four times less often takes a quarter off OPA's CPU (measured: bench.gateway)
# for memory that OPA's data is small against. The operator's own GOGC wins.
GOGC = "400"
INHERITED = ("GOGC", "GOMAXPROCS", "GOMEMLIMIT", "SSL_CERT_DIR", "SSL_CERT_FILE", "TMPDIR", "TZ")


class Engine:
    """Runs `binary` with the OPA configuration file `config`; its socket and its trace lie in `directory` (0700).

    `files` are Rego and data that OPA loads at its start, beside the bundles of its configuration. While OPA is away
    every question fails, so everything is denied; it is started again after 0.1 to 2 s.
    """

    def __init__(
        self,
        binary: Path,
        config: Path,
        directory: Path,
        *,
        files: Sequence[Path] = (),
        environment: Mapping[str, str] = os.environ,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._binary = binary
        self._config = config
        self._directory = directory
        self._files = files
        self._environment = {"GOGC": GOGC} | {name: environment[name] for name in INHERITED if name in environment}
        self._grace_seconds = grace_seconds
        self._socket = directory / "opa.sock"
        self._trace = directory / "opa.pid"
        self._private: Path | None = None
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """Where this OPA listens, for `OpaClient`; known once started."""
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int | None:
        """The running OPA's process id, or None while there is none."""
        return self._child.pid if self._child else None

    @property
    def restarts(self) -> int:
        """How often OPA was started again since the start."""
        return self._child.restarts if self._child else 0

    @property
    def trouble(self) -> str | None:
        """Why there is no OPA at the moment, or None while it runs."""
        return self._child.trouble if self._child else "OPA is not started"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start OPA and its supervision, after ending an OPA that outlived an earlier gateway here.

        It returns before OPA answers (`Pdp.ready` knows); raises EngineMissing if another gateway runs one here.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory.chmod(0o700)
        killed = await asyncio.to_thread(orphan.sweep, self._trace)
        if killed is not None:
            LOG.warning("ended OPA %d, which had outlived its gateway", killed)
        if len(os.fsencode(self._socket)) > MAX_SOCKET_PATH:
            self._private = _private_directory()
            self._socket = self._private / "opa.sock"
        command = Command("OPA", self._arguments(), self._environment, self._directory)
        self._child = Child(
            command,
            say=self._say,
            starting=lambda: self._socket.unlink(missing_ok=True),
            started=lambda pid: orphan.leave(self._trace, orphan.Trace(pid, os.getpid(), self.url)),
            grace_seconds=self._grace_seconds,
        )
        await self._child.__aenter__()

    async def stop(self) -> None:
        """End OPA, gently and then not, and clear what it leaves."""
        if self._child is None:
            return
        await self._child.__aexit__(None, None, None)
        self._socket.unlink(missing_ok=True)
        self._trace.unlink(missing_ok=True)
        if self._private is not None:
            shutil.rmtree(self._private, ignore_errors=True)

    def _arguments(self) -> tuple[str | Path, ...]:
        return (
            self._binary, "run", "--server", "--addr", self.url, "--unix-socket-perm", "600",
            "--log-level", "error", "--log-format", "json", "--skip-version-check",
            "--config-file", self._config, *self._files,
        )  # fmt: skip

    def _say(self, line: bytes) -> None:
        if not line.strip():
            return
        level, text = _read_line(line)
        LOG.log(level, "opa: %s", text)
        if level >= logging.ERROR and self._child is not None:
            self._child.last_words = text


class _Line(msgspec.Struct):
    """One line of OPA's own log."""

    msg: str
    level: str = "error"
    name: str = ""


def _read_line(line: bytes) -> tuple[int, str]:
    try:
        said = msgspec.json.decode(line, type=_Line)
    except msgspec.DecodeError:
        said = _Line(line.decode(errors="replace"))
    text = f"{said.name}: {said.msg}" if said.name else said.msg
    # A warning of OPA's (that it runs as root, say) stops nothing.
    return (logging.ERROR if said.level in ("error", "fatal", "panic") else logging.INFO), ascii(text)[1:-1]


def _private_directory() -> Path:
    """Make a 0700 directory whose path is short enough for a socket."""
    for parent in (None, "/tmp"):  # noqa: S108
        made = Path(tempfile.mkdtemp(prefix="portcullis-", dir=parent))
        if len(os.fsencode(made / "opa.sock")) <= MAX_SOCKET_PATH:
            return made
        made.rmdir()
    raise EngineMissing("no directory for OPA's socket has a path that is short enough")
