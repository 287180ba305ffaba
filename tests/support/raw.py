"""HTTP written byte by byte, for what no client library would send."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection to where a URL points; it is aborted at the end."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def exchange(url: str, request: bytes, seconds: float = 5) -> bytes:
    """Send bytes and return all that comes back until the other side closes; raises TimeoutError if it does not."""
    async with connected(url) as (reader, writer):
        writer.write(request)
        async with asyncio.timeout(seconds):
            try:
                return await reader.read()
            except ConnectionResetError:
                return b""


def request(line: str, *headers: str, body: bytes = b"", host: str = "127.0.0.1") -> bytes:
    """Return a request that ends its connection; its length is declared if there is a body."""
    given = [f"Host: {host}", "Connection: close", *headers]
    if body:
        given.append(f"Content-Length: {len(body)}")
    return "\r\n".join([line, *given, "", ""]).encode("latin-1") + body


def status(answer: bytes) -> int | None:
    """Return the status of an answer, None if there is none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else None
