"""OPA as a supervised child: on a private unix socket, restarted when it ends, gone when the gateway is gone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from gateway.errors import EngineMissing
from gateway.pdp import orphan

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Mapping, Sequence
    from types import TracebackType

log = logging.getLogger(__name__)

# sockaddr_un has room for 108 bytes with the NUL on Linux and for 104 on macOS.
MAX_SOCKET_PATH = 103
FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 2.0
RAN_WELL_SECONDS = 10.0
GRACE_SECONDS = 3.0
_MAX_LINE = 4_096
# All that OPA's Go runtime and TLS may need; nothing else of our environment, where secrets lie, is its business.
_INHERITED = ("GOGC", "GOMAXPROCS", "GOMEMLIMIT", "SSL_CERT_DIR", "SSL_CERT_FILE", "TMPDIR", "TZ")
_LEASH = Path(__file__).with_name("leash.py")


class Engine:
    """Runs `binary` with the OPA configuration file `config`; its socket and its trace lie in `directory` (0700).

    `files` are Rego and data that OPA loads at its start, beside the bundles of its configuration.

    While OPA is away every question fails, so everything is denied; it is started again after 0.1 to 2 s.
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
        self.restarts = 0
        self._binary = binary
        self._config = config
        self._files = files
        self._directory = directory
        self._grace = grace_seconds
        self._environment = {name: environment[name] for name in _INHERITED if name in environment}
        self._socket = directory / "opa.sock"
        self._private: Path | None = None
        self._process: Process | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._last_words = ""

    @property
    def url(self) -> str:
        """Where this OPA listens, for `OpaClient`; known once started."""
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int | None:
        """The running OPA's process id, or None while there is none."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    @property
    def trouble(self) -> str | None:
        """Why there is no OPA at the moment, or None while it runs."""
        if self.pid is not None:
            return None
        return f"OPA is not running: {self._last_words}" if self._last_words else "OPA is not running"

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
            log.warning("ended OPA %d, which had outlived its gateway", killed)
        if len(os.fsencode(self._socket)) > MAX_SOCKET_PATH:
            self._private = _private_directory()
            self._socket = self._private / "opa.sock"
        self._supervisor = asyncio.get_running_loop().create_task(self._supervise(), name="supervise OPA")

    async def stop(self) -> None:
        """End OPA, gently and then not, and clear what it leaves."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervisor
            self._supervisor = None
        self._socket.unlink(missing_ok=True)
        self._trace.unlink(missing_ok=True)
        if self._private is not None:
            shutil.rmtree(self._private, ignore_errors=True)

    @property
    def _trace(self) -> Path:
        return self._directory / "opa.pid"

    async def _supervise(self) -> None:
        loop = asyncio.get_running_loop()
        delay = FIRST_DELAY_SECONDS
        while True:
            began = loop.time()
            await self._run()
            if loop.time() - began >= RAN_WELL_SECONDS:
                delay = FIRST_DELAY_SECONDS
            log.error("%s; starting it again", self.trouble)
            await asyncio.sleep(random.uniform(delay / 2, delay))  # noqa: S311
            delay = min(delay * 2, LONGEST_DELAY_SECONDS)
            self.restarts += 1

    async def _run(self) -> None:
        """Run OPA once, until it ends or this task is cancelled."""
        self._socket.unlink(missing_ok=True)
        try:
            process = await self._spawn()
        except OSError as error:
            self._last_words = str(error)
            return
        self._process = process
        try:
            orphan.leave(self._trace, orphan.Trace(process.pid, os.getpid(), self.url))
            await self._relay(process)
            status = await process.wait()
            self._last_words = self._last_words or f"it ended with status {status}"
        finally:
            await _end(process, self._grace)
            self._process = None

    async def _spawn(self) -> Process:
        self._last_words = ""
        arguments = f"run --server --addr {self.url} --unix-socket-perm 600 --log-level error --log-format json".split()
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-IS",
            _LEASH,
            str(os.getpid()),
            self._binary,
            *arguments,
            "--skip-version-check",
            "--config-file",
            self._config,
            *self._files,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,  # where OPA writes why it cannot start
            stderr=asyncio.subprocess.STDOUT,
            env=self._environment,
            cwd=self._directory,
            # Ctrl-C at a terminal goes to the whole process group; OPA must outlive the calls that are being drained.
            start_new_session=True,
        )

    async def _relay(self, process: Process) -> None:
        """Put what OPA says into the log, until it closes its output."""
        assert process.stdout is not None
        rest = b""
        while data := await process.stdout.read(8_192):
            *lines, rest = (rest + data).split(b"\n")
            rest = rest[:_MAX_LINE]
            for line in lines:
                self._say(line[:_MAX_LINE])
        self._say(rest)

    def _say(self, line: bytes) -> None:
        if not line.strip():
            return
        level, text = _read_line(line)
        log.log(level, "opa: %s", text)
        if level >= logging.ERROR:
            self._last_words = text


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


async def _end(process: Process, grace_seconds: float) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), grace_seconds)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _private_directory() -> Path:
    """Make a 0700 directory whose path is short enough for a socket."""
    for parent in (None, "/tmp"):  # noqa: S108
        made = Path(tempfile.mkdtemp(prefix="portcullis-", dir=parent))
        if len(os.fsencode(made / "opa.sock")) <= MAX_SOCKET_PATH:
            return made
        made.rmdir()
    raise EngineMissing("no directory for OPA's socket has a path that is short enough")
