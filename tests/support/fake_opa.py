"""A fake OPA on a unix socket that answers whatever a test scripts, byte by byte, and well-formed decisions."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Iterator

EPOCH = "0123456789abcdef0123456789abcdef"


@contextlib.contextmanager
def short_directory() -> Iterator[Path]:
    """A temporary directory whose path is short enough for a socket in it, as pytest's often is not."""
    path = Path(tempfile.mkdtemp(prefix="opa-"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@dataclass(frozen=True)
class Request:
    """One request as the fake OPA read it; `connection` counts the connections from 1."""

    connection: int
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def input(self) -> Any:
        return json.loads(self.body)["input"]


@dataclass(frozen=True)
class Reply:
    """What the fake writes, once `after` is set; then it may `close` the connection.

    `drip` writes a byte every few milliseconds; `silent` writes nothing and keeps the connection open.
    """

    data: bytes = b""
    close: bool = False
    silent: bool = False
    drip: bool = False
    after: asyncio.Event | None = None


@dataclass
class FakeOpa:
    """A server on a unix socket that answers each request with what `script` makes of it.

    `connections` counts those ever made, `open` those that its peer has not closed.
    """

    url: str
    script: Callable[[Request], Reply]
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.connections += 1
        self.open += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._answer_all(reader, writer, self.connections)
        self.open -= 1
        self._tasks.discard(task)
        self._writers.discard(writer)
        writer.close()

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        while True:
            request = await _read_request(reader, number)
            self.requests.append(request)
            reply = self.script(request)
            if reply.after is not None:
                await reply.after.wait()
            if reply.silent:
                await reader.read()
                return
            for piece in [bytes([byte]) for byte in reply.data] if reply.drip else [reply.data]:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.005 if reply.drip else 0)
            if reply.close:
                return

    def send_unasked(self, data: bytes) -> None:
        """Write to every connection, whether or not it asked."""
        for writer in self._writers:
            writer.write(data)

    def drop_connections(self) -> None:
        """Close every connection from this side, as a restarted OPA does."""
        for writer in self._writers:
            writer.close()

    async def stop(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks)


async def _read_request(reader: asyncio.StreamReader, number: int) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    _, target, _ = head[0].split(" ")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(number, target, headers, body)


@contextlib.asynccontextmanager
async def fake_opa(script: Callable[[Request], Reply]) -> AsyncIterator[FakeOpa]:
    """Serve a fake OPA on a unix socket for as long as the block lasts."""
    with short_directory() as directory:
        fake = FakeOpa(f"unix://{directory}/s", script)
        async with _serving(fake, await asyncio.start_unix_server(fake.serve, directory / "s")):
            yield fake


@contextlib.asynccontextmanager
async def fake_opa_on_tcp(
    script: Callable[[Request], Reply], tls: ssl.SSLContext | None = None
) -> AsyncIterator[FakeOpa]:
    """Serve a fake OPA on loopback for as long as the block lasts."""
    fake = FakeOpa("", script)
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0, ssl=tls)
    fake.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with _serving(fake, server):
        yield fake


@contextlib.asynccontextmanager
async def _serving(fake: FakeOpa, server: asyncio.Server) -> AsyncIterator[None]:
    try:
        yield
    finally:
        server.close()
        await fake.stop()


def http(body: bytes, status: str = "200 OK") -> bytes:
    """An answer as OPA frames a short one."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def chunked(*chunks: bytes, status: str = "200 OK") -> bytes:
    """An answer as OPA frames a long one."""
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return f"HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + framed + b"0\r\n\r\n"


def call_decision(**changes: Any) -> dict[str, Any]:
    """A well-formed decision that admits a call, with changes; a change to `...` removes the member."""
    base = {
        "allow": True,
        "visible": True,
        "id": "payments/charge",
        "epoch": EPOCH,
        "revision": 42,
        "config": "c0ffeec0ffeec0ff",
        "stale": False,
        "reasons": [],
        "obligations": {},
    }
    return {name: value for name, value in (base | changes).items() if value is not ...}


def list_decision(**changes: Any) -> dict[str, Any]:
    """A well-formed decision that lists two tools, with changes as in `call_decision`."""
    return call_decision(**{"visible": ..., "id": ..., "ids": ["payments/charge", "payments/refund"]} | changes)


def admin_decision(**changes: Any) -> dict[str, Any]:
    """A well-formed decision that permits an admin action, with changes as in `call_decision`."""
    return call_decision(**{"visible": ..., "id": ..., "obligations": ..., "roles": ["admin"]} | changes)


def answer(result: Any) -> bytes:
    """The body of OPA's 200 around a result."""
    return json.dumps({"result": result}).encode()


def decided(request: Request, **changes: Any) -> Reply:
    """Admit whatever is asked, in one epoch and revision."""
    kinds = {"/call/": call_decision, "/list/": list_decision, "/admin/": admin_decision}
    for part, make in kinds.items():
        if part in request.target:
            return Reply(http(answer(make(**changes))))
    if request.target == "/v1/data/system/bundles":
        manifest = {"manifest": {"revision": "r1"}}
        return Reply(http(answer(dict.fromkeys(("policy", "custom", "tenants", "live"), manifest))))
    return Reply(http(b"{}"))
