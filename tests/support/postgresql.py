"""A private PostgreSQL on a unix socket, from this machine's binaries; or in a container, where there is an engine."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import psycopg
from testcontainers.core.container import DockerContainer

if TYPE_CHECKING:
    from collections.abc import Iterator

ABSENT = "PostgreSQL's server is not here, so nothing is tested on it: apt-get install postgresql (or start docker)"
ROLE = "tester"
READY_SECONDS = 30
# What is kept is thrown away at the end: no page needs to reach a disk. A process that is killed loses nothing by that.
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "16MB",
    "max_connections": "150",
    "log_min_messages": "fatal",
}
_SCHEMAS = count(1)


def binaries() -> Path | None:
    """Return the folder of `initdb` and `postgres`, the newest that is installed, or None."""
    on_path = shutil.which("pg_ctl")
    config = shutil.which("pg_config")
    told = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False).stdout if config else ""
    places = [
        *sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda one: int(one.parent.name), reverse=True),
        *([Path(on_path).resolve().parent] if on_path else []),
        *([Path(told.strip())] if told else []),
    ]
    return next((one for one in places if (one / "initdb").exists() and (one / "postgres").exists()), None)


def docker_engine() -> bool:
    """Whether containers can be run here."""
    docker = shutil.which("docker")
    return docker is not None and subprocess.run([docker, "info"], capture_output=True, check=False).returncode == 0


def owner() -> str | None:
    """Return whom the server runs as, None for the one who asks: it refuses to run as root."""
    if os.geteuid() != 0:
        return None
    names = {one.pw_name for one in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def address(parameters: dict[str, str], **more: str) -> str:
    """Return a URL of libpq's."""
    return f"postgresql:///postgres?{urlencode(parameters | more, quote_via=quote)}"


@dataclass
class PostgreSQL:
    """A server that runs while it is entered; `kill` and `start` are a crash and what comes after it."""

    folder: Path = field(default_factory=lambda: Path("/unset"))
    _process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PostgreSQL:
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir=memory if memory.is_dir() else None))
        if user := owner():
            shutil.chown(self.folder, user)
        self.folder.chmod(0o755)
        found = binaries()
        assert found, ABSENT
        self._initdb, self._postgres = found / "initdb", found / "postgres"
        options = ["-U", ROLE, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        self._run([self._initdb, "-D", self.folder / "data", *options]).wait()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def parameters(self) -> dict[str, str]:
        """How it is reached."""
        return {"host": str(self.folder), "user": ROLE}

    @property
    def pids(self) -> list[int]:
        """The server's process and all of its children."""
        assert self._process is not None
        tasks = Path(f"/proc/{self._process.pid}/task").iterdir()
        children = [int(one) for task in tasks for one in (task / "children").read_text().split()]
        return [self._process.pid, *children]

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        self._process = self._run([self._postgres, "-D", self.folder / "data", "-k", self.folder, *settings])
        answering(address(self.parameters))

    def kill(self) -> None:
        """End it and everything of it at once, as a crash does."""
        if self._process is None:
            return
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """Have it neither answer nor end for a while."""
        pids = self.pids
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def _run(self, command: list[object]) -> subprocess.Popen[bytes]:
        log = (self.folder / "log").open("ab")
        with log:
            return subprocess.Popen(
                list(map(str, command)), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, **({"user": owner(), "group": _group(), "extra_groups": []} if owner() else {}),
            )  # fmt: skip


def _group() -> int:
    return pwd.getpwnam(owner() or "root").pw_gid


def answering(url: str) -> None:
    """Wait until a server answers."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


@contextlib.contextmanager
def container() -> Iterator[dict[str, str]]:
    """Run a server in a container and yield how it is reached."""
    image = DockerContainer("postgres:17").with_env("POSTGRES_USER", ROLE).with_env("POSTGRES_PASSWORD", ROLE)
    with image.with_env("POSTGRES_DB", "postgres").with_exposed_ports(5432) as running:
        port = str(running.get_exposed_port(5432))
        there = {"host": running.get_container_host_ip(), "port": port, "user": ROLE, "password": ROLE}
        answering(address(there))
        yield there


@contextlib.contextmanager
def server() -> Iterator[dict[str, str] | None]:
    """Yield how a server of our own is reached, None where there can be none."""
    if binaries():
        with PostgreSQL() as one:
            yield one.parameters
    elif docker_engine():
        with container() as there:
            yield there
    else:
        yield None


def fresh(parameters: dict[str, str]) -> str:
    """Return the URL of a schema that nobody has used; quicker made than a database."""
    name = f"ledger_{next(_SCHEMAS)}"
    with psycopg.connect(address(parameters), autocommit=True) as connection:
        connection.execute(f"create schema {name}")
    return address(parameters, options=f"-csearch_path={name}")
