"""A server on loopback that a test has by the wire: it reads requests, and a script writes what it likes, bytewise."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable


@dataclass
class Asked:
    """One request as it came, and the connection to answer it on; `connection` counts the connections from 1."""

    connection: int
    verb: str
    target: str
    headers: dict[str, str]
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def message(self) -> Any:
        """The body decoded."""
        return json.loads(self.body)

    async def send(self, data: bytes) -> None:
        """Write and wait until there is room for more; raises ConnectionError where the client has gone."""
        self.writer.write(data)
        await self.writer.drain()

    async def gone(self) -> None:
        """Wait until the client has closed its connection."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass


@dataclass
class Scripted:
    """`url` is where it listens; a script answers one request and may close the writer, which ends the connection."""

    script: Callable[[Asked], Awaitable[None]]
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._answer(reader, writer, self.connections)
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        while not writer.is_closing():
            line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            verb, target, _ = line.split(" ")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines if line)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            asked = Asked(number, verb, target, headers, body, reader, writer)
            self.asked.append(asked)
            await self.script(asked)

    async def stop(self) -> None:
        """End every connection."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks)


@contextlib.asynccontextmanager
async def scripted(
    script: Callable[[Asked], Awaitable[None]], *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Scripted]:
    """Serve for as long as the block lasts."""
    made = Scripted(script)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=tls)
    made.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
    try:
        yield made
    finally:
        server.close()
        await made.stop()


def answer(id_: int, text: str = "done") -> bytes:
    """Return a JSON-RPC answer."""
    content = [{"type": "text", "text": text}]
    return json.dumps({"jsonrpc": "2.0", "id": id_, "result": {"content": content}}).encode()


def progress(number: int, padding: int = 0) -> bytes:
    """Return a notification."""
    params = {"progressToken": 1, "progress": number, "message": "x" * padding}
    return json.dumps({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}).encode()


def event(data: bytes) -> bytes:
    """Return a message as an event."""
    return b"event: message\r\ndata: " + data + b"\r\n\r\n"


def head(*fields: str, status: str = "200 OK", version: str = "1.1") -> bytes:
    """Return the head of an answer."""
    return "\r\n".join([f"HTTP/{version} {status}", *fields, "", ""]).encode("latin-1")


def counted(body: bytes, *fields: str, status: str = "200 OK", media_type: str = "application/json") -> bytes:
    """Return an answer with its length."""
    return head(f"Content-Type: {media_type}", f"Content-Length: {len(body)}", *fields, status=status) + body


STREAM_HEAD = head("Content-Type: text/event-stream", "Transfer-Encoding: chunked")
LAST_CHUNK = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """Return data as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def streamed(*messages: bytes) -> bytes:
    """Return an answer that is a stream with each message in a chunk of its own."""
    return STREAM_HEAD + b"".join(chunk(event(message)) for message in messages) + LAST_CHUNK
