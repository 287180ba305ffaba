"""A door on loopback that adds a credential to every request, because the suite can send none.

Everything else goes through as it came, byte for byte and when it comes: spelling and space of headers, streams in
both directions, and the end of a connection, which is how a client of 2026-07-28 cancels.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

MAX_HEAD_BYTES = 256 * 1024
CHUNK_BYTES = 64 * 1024


@dataclass
class Shim:
    """Where the door is and, once known, where it leads and what is added."""

    url: str
    _host: str | None = None
    _port: int | None = None
    _added: bytes = b""

    def lead_to(self, origin: str, headers: Mapping[str, str]) -> None:
        """Lead every connection from now on to an origin, with these headers in front of the client's own."""
        parts = urlsplit(origin)
        self._host, self._port = parts.hostname, parts.port
        self._added = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")

    async def connected(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Serve one connection of a client by one connection of its own."""
        server, to_server = await asyncio.open_connection(self._host, self._port)
        # Whichever direction ends first ends both.
        ways = [
            asyncio.ensure_future(forward_requests(client, to_server, self._added)),
            asyncio.ensure_future(forward(server, to_client)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for writer in (to_client, to_server):
                writer.close()


@asynccontextmanager
async def shim() -> AsyncIterator[Shim]:
    """Open the door on a free port; `lead_to` says where it leads."""
    door = Shim("")
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(door.connected(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=MAX_HEAD_BYTES)
    door.url = "http://{}:{}".format(*server.sockets[0].getsockname())
    try:
        yield door
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on everything until there is no more."""
    with suppress(ConnectionError):
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()


async def forward_requests(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, added: bytes) -> None:
    """Pass on requests with lines added to the head of each, until the client hangs up."""
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            line, rest = head.split(b"\r\n", 1)
            writer.write(line + b"\r\n" + added + rest)
            await _forward_body(reader, writer, rest)
            await writer.drain()


async def _forward_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
    lengths = _values(head, b"content-length")
    if b"chunked" in _values(head, b"transfer-encoding"):
        await _forward_chunks(reader, writer)
    elif lengths:
        await _forward_exactly(reader, writer, int(lengths[0]))


async def _forward_chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    size = 1
    while size:
        line = await reader.readuntil(b"\r\n")
        writer.write(line)
        size = int(line.split(b";")[0], 16)
        await _forward_exactly(reader, writer, size + 2 if size else 0)
    trailer = b""
    while trailer != b"\r\n":
        trailer = await reader.readuntil(b"\r\n")
        writer.write(trailer)


async def _forward_exactly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int) -> None:
    while count:
        chunk = await reader.read(min(count, CHUNK_BYTES))
        if not chunk:
            raise ConnectionResetError
        count -= len(chunk)
        writer.write(chunk)
        await writer.drain()


def _values(head: bytes, name: bytes) -> list[bytes]:
    """Return the values of every line of a header, lower-case, without the space around them."""
    fields = (line.partition(b":") for line in head.split(b"\r\n"))
    return [value.strip().lower() for field, _, value in fields if field.lower() == name]
