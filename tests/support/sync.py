"""The sync service on a ledger and files of its own, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import io
import json
import secrets
import socket
import sqlite3
import tarfile
import time
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Self, cast

import aiohttp
import psycopg

from bundles.configurations import Configurations
from bundles.custom import CustomPolicy
from bundles.service import Settings, SyncService
from bundles.signing import SigningKey
from gateway.facts import Replica, ServerInventory
from gateway.ids import Ref
from gateway.ledger.connect import SQLITE, open_ledger
from gateway.model import AuditEvent, Withdrawal
from gateway.pdp.opa_config import OpaSettings, opa_config
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path
    from types import TracebackType

    from bundles.bundle import Content
    from gateway.config import Config
    from gateway.ledger import Ledger

FRONT_DOOR = """\
tool_access: {mode: front_door}
auth:
  enabled: true
  oidc: {enabled: true, issuer: "https://auth.example.com", audience: mcp-hangar, resource_uri: "https://hangar.example.com"}
mcp_servers:
  payments:
    mode: remote
    endpoint: http://localhost:8080/mcp
    tool_access:
      member:
        "tenant:a": {deny_list: [refund]}
        "tenant:b": {allow_list: [charge, refund]}
"""
PAYMENTS = ("beta_tool", "charge", "legacy_charge", "refund")


def event(type_: str = "ToolWithdrawn") -> AuditEvent:
    """Return an audit event for a mutation."""
    return AuditEvent(id=secrets.token_hex(16), time=1, type=type_, outcome="success")


def inventory(server: str, *tools: str, digest: str = "d1") -> ServerInventory:
    """Return what a server offers."""
    return ServerInventory(server, digest, tuple(sorted(tools)), 1)


def rewrite(url: str, statement: str) -> None:
    """Change the ledger behind everybody's back, as restoring a copy does."""
    if url.startswith(SQLITE):
        with contextlib.closing(sqlite3.connect(url.removeprefix(SQLITE))) as db, db:
            db.execute(statement)
    else:
        with psycopg.connect(url) as connection:
            connection.execute(statement)  # type: ignore[arg-type]


async def no_custom_policy(_: Config) -> CustomPolicy:
    """Return that there is none."""
    return CustomPolicy()


def no_event(_bundle: str, _content: Content) -> None:
    """Record no event of a policy."""


class Polled(NamedTuple):
    """What sync answered to a poll."""

    status: int
    etag: str | None
    content_type: str
    body: bytes

    @property
    def files(self) -> dict[str, bytes]:
        """The bundle's files."""
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(self.body))) as tar:
            return {entry.name: cast("IO[bytes]", tar.extractfile(entry)).read() for entry in tar.getmembers()}

    @property
    def data(self) -> Any:
        """The one document in it."""
        return next(json.loads(body) for name, body in self.files.items() if name.endswith("data.json"))

    @property
    def manifest(self) -> Any:
        """The bundle's manifest."""
        return json.loads(self.files[".manifest"])


class Sync:
    """A sync service in this process; `stop` and `start` are a restart of it on the same port, files and ledger."""

    def __init__(
        self,
        folder: Path,
        config: str = FRONT_DOOR,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        heartbeat: float = 10,
        load_custom: Callable[[Config], Awaitable[CustomPolicy]] = no_custom_policy,
        ledger_url: str | None = None,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.config = folder / "config.yaml"
        self.config.write_text(config)
        self.ledger_path = folder / "portcullis.db"
        self.key = SigningKey.generate()
        self.control = secrets.token_urlsafe(32)
        self.load_custom = load_custom
        self.ledger: Ledger
        self.http: aiohttp.ClientSession
        self._ledger_url = ledger_url
        self._heartbeat = heartbeat
        self._now = now
        self._monotonic = monotonic
        self._port = 0
        self.tokens: dict[str, str] = {}
        self._running: SyncService | None = None
        self._stack = contextlib.AsyncExitStack()

    @property
    def service(self) -> SyncService:
        """The service that runs now."""
        assert self._running is not None
        return self._running

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._running is not None

    @property
    def url(self) -> str:
        """Where it listens, or will again."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def ledger_url(self) -> str:
        """Where its ledger lies."""
        return self._ledger_url or f"sqlite:///{self.ledger_path}"

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            self.ledger = await open_ledger(self.ledger_url)
            stack.push_async_callback(self.ledger.close)
            await self.ledger.put_inventory(inventory("payments", *PAYMENTS))
            self.http = await stack.enter_async_context(aiohttp.ClientSession())
            await self.start()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        await self._stack.aclose()

    async def start(self, *, ready: bool = True) -> None:
        """Start the service."""
        configurations = Configurations(self.config, self.folder / "configuration.json")
        listener = socket.create_server(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        self._running = await SyncService(
            Settings(
                configurations, self.ledger_url, self.control, lambda: self.key, self.load_custom, listener, no_event,
                self._heartbeat, self._now, self._monotonic,
            )
        ).__aenter__()  # fmt: skip
        if ready:
            async with asyncio.timeout(10):
                await self.service.publisher.served()
            await until(self._caught_up)

    async def _caught_up(self) -> bool:
        """Whether the revisions are published with which it recorded its own bundles."""
        return self.service.publisher.revision == (await self.ledger.meta()).revision

    async def stop(self) -> None:
        """End the service."""
        if self._running:
            await self._running.__aexit__(None, None, None)
        self._running = None

    async def restart(self, *, load_custom: Callable[[Config], Awaitable[CustomPolicy]] | None = None) -> None:
        """End the service and start it again."""
        self.load_custom = load_custom or self.load_custom
        await self.stop()
        await self.start()

    @contextlib.contextmanager
    def ledger_away(self) -> Iterator[None]:
        """Make the ledger unreadable for a while."""
        with contextlib.closing(sqlite3.connect(self.ledger_path, timeout=10)) as other:
            other.execute("ALTER TABLE meta RENAME TO away")
            try:
                yield
            finally:
                other.execute("ALTER TABLE away RENAME TO meta")

    async def token(self, replica: str) -> str:
        """Return the token of a replica, registered on first use."""
        if replica not in self.tokens:
            token = self.tokens[replica] = secrets.token_urlsafe(32)
            (self.folder / f"{replica}.token").write_text(token)
            await self.ledger.register_replica(Replica(replica, hashlib.sha256(token.encode()).hexdigest(), 1))
        return self.tokens[replica]

    async def opa(self, replica: str, **changes: Any) -> dict[str, Any]:
        """Return the configuration of a replica's OPA."""
        await self.token(replica)
        given = {
            "sync_url": self.url,
            "replica": replica,
            "token_path": self.folder / f"{replica}.token",
            "keys": {self.key.id: self.key.public_pem},
            "directory": self.folder / f"{replica}.bundles",
        }
        return opa_config(OpaSettings(**{**given, **changes}))

    async def control_get(self, path: str) -> Any:
        """Return what sync answers to the gateway."""
        async with self.http.get(self.url + path, headers={"Authorization": f"Bearer {self.control}"}) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def applied(self, revision: int, wait: float = 5) -> tuple[list[str], list[str]]:
        """Return who has applied a revision, and who is counted."""
        answer = await self.control_get(f"/revisions/{revision}?wait={wait}")
        return answer["applied"], answer["replicas"]

    async def poll(self, name: str, token: str, etag: str | None = None, wait: int | None = None) -> Polled:
        """Poll for a bundle as OPA does."""
        headers = {"Authorization": f"Bearer {token}"}
        headers |= {"If-None-Match": etag} if etag else {}
        headers |= {"Prefer": f"modes=snapshot,delta;wait={wait}"} if wait is not None else {}
        async with self.http.get(f"{self.url}/bundles/{name}", headers=headers) as response:
            return Polled(response.status, response.headers.get("ETag"), response.content_type, await response.read())

    async def restore(self, tool: str, tenant: str | None = None) -> int:
        """Lift the withdrawal of a tool of `payments` in the ledger and return the revision."""
        revision, _ = await self.ledger.restore(Ref.of_tool("payments", tool), tenant, event("ToolRestored"))
        return revision

    async def withdraw(self, tool: str, tenant: str | None = None, by: str = "user:root") -> int:
        """Withdraw a tool of `payments` in the ledger and return the revision."""
        return await self.ledger.withdraw(Withdrawal(Ref.of_tool("payments", tool), tenant, by, 1), event())
