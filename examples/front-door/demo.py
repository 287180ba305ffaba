"""The demo as processes: an issuer, MCP servers and gateways, started in order and stopped together."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).resolve().parent
PORTCULLIS = Path(sys.executable).with_name("portcullis")
START_SECONDS = 60
STOP_SECONDS = 25
POLL_SECONDS = 0.05
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class DemoError(Exception):
    """A part of the demo cannot be started, or is gone; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Part:
    """One process; what it says goes to `log`, and its standard output to `said`. `told`: errors passed on."""

    name: str
    process: subprocess.Popen[bytes]
    said: Path
    log: Path
    told: set[str] = field(default_factory=set)

    def require(self) -> None:
        """Raise DemoError, with the last of what it said, if the process has ended."""
        if (code := self.process.poll()) is not None:
            last = (self.said.read_text() + self.log.read_text()).strip().splitlines()[-15:]
            raise DemoError(
                "\n".join([f"{self.name} has ended with status {code}; its last words ({self.log}):", *last])
            )


@dataclass(slots=True)
class Demo:
    """What runs, and where: one folder for configuration, state and logs, and one list of processes.

    `tell` hears of each part that is ready, with its address and how many seconds that took, and `warn` of each error
    that a part meets before it is.
    """

    folder: Path
    tell: Callable[[str, str, float], None] = lambda _name, _where, _seconds: None
    warn: Callable[[str, str], None] = lambda name, error: print(f"  {name}: {error}", file=sys.stderr, flush=True)
    parts: list[Part] = field(default_factory=list)

    def issuer(self, port: int) -> str:
        """Start the issuer and return its URL."""
        url = f"http://localhost:{port}"
        command = [sys.executable, HERE / "issuer.py", "--port", port, "--issuer", url]
        self._start("issuer", command, f"{url}/.well-known/openid-configuration", url)
        return url

    def servers(self, port: int) -> str:
        """Start the MCP servers and return the endpoint of the payments server."""
        url = f"http://localhost:{port}"
        self._start("servers", [sys.executable, HERE / "servers.py", "--port", port], f"{url}/mcp", f"{url}/mcp")
        return f"{url}/mcp"

    def gateway(self, config: Path, port: int, *, host: str = "127.0.0.1", flags: tuple[str, ...] = ()) -> Part:
        """Start a gateway on a configuration, with a state directory named after it; return it when it is ready."""
        command = [PORTCULLIS, "up", "--config", config, "--host", host, "--port", port, *flags]
        state = self._state(config)
        url = f"http://localhost:{port}"
        name = "gateway" if config.stem == "config" else config.stem
        part = self._start(name, [*command, "--state-dir", state], f"{url}/health/ready", url)
        self._await(part, lambda: part.said.read_text().endswith("\n"))
        return part

    def portcullis(self, config: Path, *arguments: str) -> str:
        """Run a command on the state of a gateway, running or not, and return what it prints."""
        command = [PORTCULLIS, *arguments, "--config", config, "--state-dir", self._state(config)]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        if done.returncode:
            raise DemoError(f"portcullis {' '.join(arguments)} failed: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def admin_key(self, config: Path) -> str:
        """Create a key for a global admin that is good for a day."""
        wanted = ("--principal", "user:root", "--role", "admin", "--expires-in-days", "1", "--json")
        return str(json.loads(self.portcullis(config, "key", "create", *wanted))["key"])

    def require(self) -> None:
        """Raise DemoError if any part has ended."""
        for part in self.parts:
            part.require()

    def stop(self) -> None:
        """Ask every part to stop, the last one started first, and kill what has not stopped in time."""
        for part in reversed(self.parts):
            part.process.terminate()
            try:
                part.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                part.process.kill()
                part.process.wait()
        self.parts.clear()

    def _state(self, config: Path) -> Path:
        return self.folder / ("state" if config.stem == "config" else f"{config.stem}-state")

    def _start(self, name: str, command: list[object], ready: str, where: str) -> Part:
        began = time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)
        said, log = self.folder / f"{name}.out", self.folder / f"{name}.log"
        with said.open("wb") as out, log.open("wb") as err:
            # A session of its own: Ctrl-C reaches only this process, which then stops the parts in order.
            process = subprocess.Popen(list(map(str, command)), stdout=out, stderr=err, start_new_session=True)
        part = Part(name, process, said, log)
        self.parts.append(part)
        self._await(part, lambda: answers(ready))
        part.require()
        self.tell(name, where, time.monotonic() - began)
        return part

    def _await(self, part: Part, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            part.require()
            for error in errors(part.log):
                if error not in part.told:
                    part.told.add(error)
                    self.warn(part.name, error)
            if time.monotonic() > deadline:
                raise DemoError(f"{part.name} is not ready after {START_SECONDS} seconds; see {part.log}")
            time.sleep(POLL_SECONDS)


def adapted(config: Path, into: Path, **addresses: str) -> Path:
    """Write a configuration with other addresses: `issuer` and `endpoint` replace the recipe's. Return the new file."""
    text = config.read_text()
    recipe = {"issuer": "https://auth.example.com", "endpoint": "http://localhost:8080/mcp"}
    for name, address in addresses.items():
        text = text.replace(recipe[name], address)
    into.mkdir(parents=True, exist_ok=True)
    target = into / config.name
    target.write_text(text)
    return target


def errors(log: Path) -> list[str]:
    """Return what a log of JSON lines has of errors so far, the oldest first."""
    found = []
    for line in log.read_text(errors="replace").splitlines():
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and entry.get("level") in ("error", "critical"):
                found.append(str(entry.get("message")))
    return found


def token(issuer: str, client: str, resource: str | None = None) -> str:
    """Get an access token for a demo agent, for the configured audience or for a resource (RFC 8707)."""
    form = {"grant_type": "client_credentials", "client_id": client, "client_secret": client}
    body = urllib.parse.urlencode(form | ({"resource": resource} if resource else {})).encode()
    with urllib.request.urlopen(f"{issuer}/token", data=body, timeout=10) as answer:
        return str(json.load(answer)["access_token"])


def answers(url: str) -> bool:
    """Whether a URL is answered now, by anything but a server's error."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        with error:
            return error.code < 500
    except OSError:
        return False


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def require_free(ports: dict[str, int], host: str = "127.0.0.1") -> None:
    """Raise DemoError, naming the flag, for each port that somebody listens on."""
    taken = [
        f"port {port} is taken; choose another one with {flag}" for flag, port in ports.items() if not free(port, host)
    ]
    if taken:
        raise DemoError("\n".join(taken))


def free(port: int, host: str) -> bool:
    """Whether a port can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


@contextlib.contextmanager
def running(folder: Path, tell: Callable[[str, str, float], None]) -> Iterator[Demo]:
    """A demo that is stopped however its block ends. The folder is private: keys lie in it."""
    for name in SIGNALS:
        signal.signal(name, _leave)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    demo = Demo(folder, tell)
    try:
        yield demo
    finally:
        demo.stop()


def _leave(_signal: int, _frame: object) -> NoReturn:
    """Leave as Ctrl-C does; a second signal does not interrupt the stopping."""
    for name in SIGNALS:
        signal.signal(name, signal.SIG_IGN)
    raise KeyboardInterrupt
