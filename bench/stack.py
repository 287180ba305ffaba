"""Everything that is measured, each part a process of its own on loopback: the MCP server, the gateway, the load.

The gateway is `portcullis up` as it is shipped, with the configuration of a front door and nothing tuned; its state
lies in a temporary folder. One tenant is a member of each of the servers, which are one process with several paths.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from joserfc import jwt
from joserfc.jwk import ECKey

from bench.asking import COUNTS
from bench.processes import ROOT, cpu_seconds, descendants, free_port, running, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.asking import Ask

AUDIENCE = "mcp-hangar"
READY_SECONDS = 60.0
PORTCULLIS = str(Path(sys.executable).with_name("portcullis"))
KEYED = ("key", "create", "--principal", "user:bench", "--role", "admin", "--json")


@dataclass(frozen=True, slots=True)
class Tokens:
    """An issuer that exists only as a key: it signs tokens, and the backend serves its public half."""

    issuer: str
    key: ECKey

    @classmethod
    def of(cls, port: int) -> Tokens:
        """Return an issuer whose keys are served on this port."""
        key = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, auto_kid=True)
        return cls(f"http://127.0.0.1:{port}", key)

    def mint(self, tenant: str, subject: str = "agent") -> str:
        """Return an access token (RFC 9068) for an agent of a tenant, good for an hour."""
        now = int(time.time())
        claims = {"iss": self.issuer, "sub": subject, "aud": AUDIENCE, "iat": now, "exp": now + 3600}
        header = {"alg": "ES256", "kid": self.key.kid, "typ": "at+jwt"}
        return jwt.encode(header, claims | {"tenant_id": tenant}, self.key)

    def key_set(self) -> bytes:
        """Return the JWKS document."""
        return json.dumps({"keys": [self.key.as_dict(private=False)]}).encode()


@dataclass(frozen=True, slots=True)
class Side:
    """One way to the tools: straight to the server, or through the gateway."""

    name: str
    port: int
    tokens: Tokens | None = None

    def job(self, ask: Ask, era: str, concurrency: int) -> dict[str, Any]:
        """Return the job that repeats a request here; see `bench.load.Job`."""
        headers = ask.headers(era)
        if self.tokens is not None:
            headers["Authorization"] = f"Bearer {self.tokens.mint(tenant_of(ask.count))}"
        # The server knows the modern era only; what a legacy agent sends is its body without `_meta`, which it ignores.
        path = "/mcp" if self.tokens is not None else f"/{ask.count}/mcp"
        return {
            "port": self.port,
            "path": path,
            "headers": headers,
            "body": ask.body(era).decode(),
            "concurrency": concurrency,
        }


@dataclass(frozen=True, slots=True)
class Stack:
    """What runs: the two ways to the tools, and the process ids by the part they play."""

    direct: Side
    gateway: Side
    pids: dict[str, int]
    admin_key: str
    seconds_to_ready: float
    folder: Path

    def cpu(self) -> dict[str, float]:
        """Return the CPU seconds that each process has used so far."""
        return {part: cpu_seconds(pid) for part, pid in self.pids.items()}


def tenant_of(count: int) -> str:
    """Return the tenant that is a member of the server with this many tools, and of no other."""
    return f"tenant:{count}"


def server_of(count: int) -> str:
    """Return the id of the server with this many tools."""
    return f"bench-{count}"


def configuration(tokens: Tokens, backend_port: int, port: int) -> dict[str, Any]:
    """Return config.yaml: a front door, one server and one tenant for each number of tools."""
    oidc = {
        "enabled": True,
        "issuer": tokens.issuer,
        "audience": AUDIENCE,
        "resource_uri": "https://hangar.example.com",
        "jwks_uri": f"{tokens.issuer}/jwks",
    }
    servers = {
        server_of(count): {
            "mode": "remote",
            "endpoint": f"http://127.0.0.1:{backend_port}/{count}/mcp",
            "tool_access": {"member": {tenant_of(count): {}}},
        }
        for count in COUNTS
    }
    return {
        "tool_access": {"mode": "front_door"},
        "server": {"port": port},
        "auth": {"enabled": True, "oidc": oidc},
        "mcp_servers": servers,
    }


@contextlib.contextmanager
def backend(folder: Path, port: int, tokens: Tokens) -> Iterator[subprocess.Popen[bytes]]:
    """Run the MCP server, which also serves the issuer's keys."""
    key_set, log = folder / "jwks.json", folder / "backend.log"
    key_set.write_bytes(tokens.key_set())
    with running([sys.executable, "-m", "bench.backend", str(port), str(key_set)], log) as process:
        until(lambda: answers(port, "/jwks"), 20, "the backend's first answer", log)
        yield process


@contextlib.contextmanager
def started(
    command: Sequence[str] = (PORTCULLIS,), adapt: Callable[[dict[str, Any]], dict[str, Any]] = dict
) -> Iterator[Stack]:
    """Run the backend and the gateway until the block ends; `command` is what stands for `portcullis`.

    `adapt` may change the configuration.
    """
    with tempfile.TemporaryDirectory(prefix="portcullis-bench-") as name, contextlib.ExitStack() as stack:
        folder, backend_port, port = Path(name), free_port(), free_port()
        tokens = Tokens.of(backend_port)
        serving = stack.enter_context(backend(folder, backend_port, tokens))
        file, state, log = folder / "config.yaml", folder / "state", folder / "gateway.log"
        file.write_text(yaml.safe_dump(adapt(configuration(tokens, backend_port, port))))
        where = ["--config", str(file), "--state-dir", str(state)]
        made = subprocess.run([PORTCULLIS, *KEYED, *where], cwd=ROOT, capture_output=True, check=True, timeout=60)
        gateway = stack.enter_context(running([*command, "up", *where], log, grace=30))
        seconds = until(lambda: ready(gateway, port, log), READY_SECONDS, "the gateway's readiness", log)
        yield Stack(
            direct=Side("direct", backend_port),
            gateway=Side("gateway", port, tokens),
            pids={"backend": serving.pid, "gateway": gateway.pid} | parts(gateway.pid),
            admin_key=json.loads(made.stdout)["key"],
            seconds_to_ready=seconds,
            folder=folder,
        )


def parts(pid: int) -> dict[str, int]:
    """Return the process ids of OPA and of the sync service among the gateway's children."""
    found = {part_of(arguments): child for child, arguments in descendants(pid).items()}
    missing = {"opa", "sync"} - found.keys()
    if missing:
        raise RuntimeError(f"the gateway has no child that is {' or '.join(sorted(missing))}")
    return {part: found[part] for part in ("opa", "sync")}


def part_of(arguments: list[str]) -> str:
    """Return what a process is by its command line: `opa`, `sync` or something else."""
    if arguments and os.path.basename(arguments[0]).startswith("opa"):  # noqa: PTH119
        return "opa"
    return "sync" if "sync" in arguments else "other"


def ready(gateway: subprocess.Popen[bytes], port: int, log: Path) -> bool:
    """Say whether the gateway is ready; RuntimeError with its log when it has ended instead."""
    if gateway.poll() is not None:
        raise RuntimeError(f"the gateway ended with status {gateway.returncode}\n{log.read_text()[-2000:]}")
    return answers(port, "/health/ready")


def answers(port: int, path: str) -> bool:
    """Say whether a GET of this path is answered with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
