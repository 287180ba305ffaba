"""A whole Portcullis as users run it: `portcullis up` in a process of its own, spoken to over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import yaml

from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from types import TracebackType

READY_SECONDS = 30
# For tests of other things than deadlines: a machine that runs many tests at once keeps OPA waiting for its turn.
PATIENT = {"deadline_ms": 5000}
MODERN = "2026-07-28"


def front_door(endpoint: str, issuer: str, **sections: Any) -> dict[str, Any]:
    """Return the recipe's configuration with other addresses, and with sections added or replaced."""
    return {
        "tool_access": {"mode": "front_door"},
        "auth": {
            "enabled": True,
            "allow_anonymous": False,
            "oidc": {
                "enabled": True,
                "issuer": issuer,
                "audience": "mcp-hangar",
                "resource_uri": "https://hangar.example.com",
                "tenant_claim": "tenant_id",
            },
        },
        "mcp_servers": {"payments": payments(endpoint)},
        **sections,
    }


def payments(endpoint: str, **members: Any) -> dict[str, Any]:
    """Return the recipe's server."""
    return {
        "mode": "remote",
        "endpoint": endpoint,
        "description": "Payments backend",
        "tool_access": {
            "member": {
                "tenant:a": {"deny_list": ["refund"]},
                "tenant:b": {"allow_list": ["charge", "refund"]},
            }
        },
        "tool_projection": {
            "withdrawn": ["legacy_charge"],
            "tenant_overrides": {"tenant:a": {"withdrawn": ["beta_tool"]}},
        },
        **members,
    }


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer; `json` is the decoded body, None where it is empty or no JSON."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body decoded."""
        with contextlib.suppress(ValueError):
            return json.loads(self.body)
        return None


@dataclass
class Portcullis:
    """`portcullis up` on a configuration and a state directory of its own; entered, it is ready."""

    folder: Path
    config: Mapping[str, Any]
    options: Sequence[str] = ()
    command: str = "up"
    wait_ready: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    _process: asyncio.subprocess.Process | None = None
    _session: aiohttp.ClientSession | None = field(default=None, repr=False)

    @property
    def config_path(self) -> Path:
        """The configuration file."""
        return self.folder / "config.yaml"

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.folder / "state"

    @property
    def log(self) -> str:
        """What it said on stderr so far, its children included."""
        return (self.folder / "log").read_text()

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The running process."""
        assert self._process is not None
        return self._process

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        try:
            await self.start()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        assert self._session is not None
        await self._session.close()

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Replace the configuration file as an editor does, by a rename."""
        self.folder.mkdir(parents=True, exist_ok=True)
        new = self.folder / "config.yaml.new"
        # Two sections that a test made of one value would be written as an anchor, which is refused.
        new.write_text(yaml.safe_dump(json.loads(json.dumps(config)), sort_keys=False))
        new.rename(self.config_path)

    async def start(self) -> None:
        """Start it and wait for its ready line."""
        if not self.config_path.exists():
            self.write_config(self.config)
        arguments = [self.command, "--config", str(self.config_path), "--state-dir", str(self.state)]
        with (self.folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gateway", *arguments, "--port", "0", *self.options,
                stdout=asyncio.subprocess.PIPE, stderr=log, env={**os.environ, **self.environment},
            )  # fmt: skip
        if self.wait_ready:
            await self.ready()

    async def ready(self) -> str:
        """Wait for the ready line and return it."""
        assert self.process.stdout is not None
        line = (await asyncio.wait_for(self.process.stdout.readline(), READY_SECONDS)).decode()
        assert line.startswith("portcullis is ready"), f"{line!r}\n{self.log}"
        self.url = line.split(" at ")[1].split(" ")[0]
        return line

    async def stop(self) -> int:
        """End it as an operator does, and return its status."""
        return await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it without a chance to clean up."""
        await self._end(signal.SIGKILL)

    async def _end(self, one: signal.Signals) -> int:
        if self.process.returncode is None:
            self.process.send_signal(one)
        status = await asyncio.wait_for(self.process.wait(), READY_SECONDS)
        # The transport of the pipe would otherwise be found open when it is collected.
        if self.process.stdout is not None:
            await self.process.stdout.read()
        return status

    def child(self, word: str) -> int:
        """Return the process id of the child whose command line has the word: `opa` or `sync`."""
        for pid in children(self.process.pid):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
                if any(one == word or one.endswith(f"/{word}") for one in words):
                    return pid
        raise AssertionError(f"no child {word}")

    async def http(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """Send one request; a body that is not bytes is sent as JSON. Header names use underscores for hyphens."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        assert self._session is not None
        async with self._session.request(
            method, self.url + path, data=data, headers=sent, allow_redirects=False
        ) as response:
            return Reply(response.status, response.headers, await response.read())

    async def rpc(self, method: str, params: Any = None, *, token: str | None = None, **headers: str) -> Reply:
        """Post one JSON-RPC request to `/mcp`, as the recipe's curl does."""
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {} if params is None else params}
        return await self.http("POST", "/mcp", message, **headers)

    async def tools(self, token: str | None = None, **headers: str) -> list[str]:
        """Return the names that a caller is listed."""
        reply = await self.rpc("tools/list", token=token, **headers)
        assert reply.status == 200, reply
        return [tool["name"] for tool in reply.json["result"]["tools"]]

    async def call(self, name: str, arguments: Any = None, *, token: str | None = None, **headers: str) -> Reply:
        """Call a tool."""
        return await self.rpc("tools/call", {"name": name, "arguments": arguments or {}}, token=token, **headers)

    async def admin(self, path: str, body: Any = None, *, key: str) -> Reply:
        """Post to the admin API."""
        return await self.http("POST", f"/api/admin/tools/{path}", body, X_API_Key=key)

    async def cli(self, *arguments: str) -> tuple[int, str, str]:
        """Run a `portcullis` command beside it, on its configuration and state; return status, stdout, stderr."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", *arguments,
            "--config", str(self.config_path), "--state-dir", str(self.state),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    async def key(self, principal: str = "user:root", *options: str, role: str = "admin") -> str:
        """Create an API key beside the running gateway and wait until it is known there."""
        status, out, err = await self.cli("key", "create", "--principal", principal, "--role", role, "--json", *options)
        assert status == 0, err
        key: str = json.loads(out)["key"]

        await self.knows(X_API_Key=key)
        return key

    async def knows(self, **credential: str) -> None:
        """Wait until a credential is good; where a proxy is trusted, each try, which may fail, is from elsewhere."""

        async def known() -> bool:
            return (await self.rpc("ping", X_Forwarded_For=elsewhere(), **credential)).status == 200

        await until(known, what="the credential is known")

    async def events(self, **wanted: Any) -> list[dict[str, Any]]:
        """Return the audit events that have these members, oldest first, once there is one.

        That somebody was let in is an event beside what a request was for, and left out unless it is asked for.
        """
        return await until(lambda: self.events_by_now(**wanted), what=f"an audit event with {wanted}")

    async def events_by_now(self, **wanted: Any) -> list[dict[str, Any]]:
        """Return those of these events that are written already, perhaps none."""
        status, out, err = await self.cli("audit", "tail", "--json", "-n", "2000")
        assert status == 0, err
        every = [json.loads(line) for line in out.splitlines()]
        meant = [one for one in every if "type" in wanted or one["type"] != "AuthenticationSucceeded"]
        return [one for one in meant if all(_at(one, path) == value for path, value in wanted.items())]


def elsewhere() -> str:
    """Return an address that nobody else has, as the gateway writes it."""
    return str(ip_address(f"2001:db8:{secrets.token_hex(2)}:{secrets.token_hex(2)}::1"))


def _at(event: Mapping[str, Any], path: str) -> Any:
    value: Any = event
    for name in path.split("__"):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def children(pid: int) -> list[int]:
    """Return the process ids of the direct children of a process."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


@asynccontextmanager
async def running(folder: Path, config: Mapping[str, Any], *options: str) -> AsyncIterator[Portcullis]:
    """Run `portcullis up` while the block lasts."""
    async with Portcullis(folder, config, options) as portcullis:
        yield portcullis
