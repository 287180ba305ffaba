"""The door that adds a credential: what else it does to a connection, which is nothing."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.conformance.shim import shim
from tests.support.raw import connected
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ADDED = {"X-API-Key": "mcp_key"}
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Listener:
    """A server that keeps what it is sent, says only what it is told to say, and notices who hangs up."""

    heard: bytearray = field(default_factory=bytearray)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    ended: int = 0

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._listen, "127.0.0.1", 0)
        try:
            yield "http://{}:{}".format(*server.sockets[0].getsockname())
        finally:
            server.close()
            for writer in self.writers:
                writer.close()

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        while chunk := await reader.read(65536):
            self.heard += chunk
        self.ended += 1

    async def hears(self, text: bytes) -> None:
        await until(lambda: bytes(self.heard).endswith(text), what=f"{text!r} arrives, not {bytes(self.heard)!r}")

    def say(self, text: bytes) -> None:
        self.writers[-1].write(text)


@pytest.fixture
async def listener() -> Listener:
    return Listener()


@pytest.fixture
async def door(listener: Listener) -> AsyncIterator[str]:
    async with listener.serve() as origin, shim() as opened:
        opened.lead_to(origin, ADDED)
        yield opened.url


async def test_a_request_arrives_as_it_was_written_with_the_credential_before_its_headers(listener, door):
    head = b"Host:127.0.0.1\r\nMCP-protocol-VERSION: \t2026-07-28  \r\nmcp-method: a\r\nMcp-Method: b\r\n\r\n"
    async with connected(door) as (_, writer):
        writer.write(b"GET /mcp?a=%20 HTTP/1.1\r\n" + head)
        await listener.hears(head)
    assert bytes(listener.heard) == b"GET /mcp?a=%20 HTTP/1.1\r\nX-API-Key: mcp_key\r\n" + head


async def test_every_request_of_a_connection_gets_the_credential_and_no_body_does(listener, door):
    body = b"POST /mcp HTTP/1.1\r\nHost: inside\r\n\r\n"
    first = b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    async with connected(door) as (reader, writer):
        for _ in range(2):
            writer.write(b"POST /mcp HTTP/1.1\r\n" + first)
            await listener.hears(first)
            listener.say(OK)
            assert await reader.readexactly(len(OK)) == OK
        writer.write(b"DELETE /mcp HTTP/1.1\r\nMcp-Session-Id: s\r\n\r\n")
        await listener.hears(b"Mcp-Session-Id: s\r\n\r\n")
    line = b"POST /mcp HTTP/1.1\r\nX-API-Key: mcp_key\r\n"
    gone = b"DELETE /mcp HTTP/1.1\r\nX-API-Key: mcp_key\r\nMcp-Session-Id: s\r\n\r\n"
    assert bytes(listener.heard) == line + first + line + first + gone
    assert len(listener.writers) == 1


async def test_a_chunked_body_arrives_in_its_chunks_and_the_next_request_after_it(listener, door):
    chunks = b"Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nTrailer: t\r\n\r\n"
    async with connected(door) as (_, writer):
        for part in (b"POST /mcp HTTP/1.1\r\n", chunks[:35], chunks[35:], b"GET /mcp HTTP/1.1\r\n\r\n"):
            writer.write(part)
            await writer.drain()
        await listener.hears(b"GET /mcp HTTP/1.1\r\nX-API-Key: mcp_key\r\n\r\n")
    assert chunks in bytes(listener.heard)


async def test_a_stream_comes_event_by_event_with_the_headers_of_its_server(listener, door):
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-TYPE: text/event-stream\r\nMcp-Session-Id: s\r\nX-Twice: 1\r\nX-Twice: 2\r\n\r\n"
    )
    async with connected(door) as (reader, writer):
        writer.write(b"GET /mcp HTTP/1.1\r\nAccept: text/event-stream\r\n\r\n")
        await listener.hears(b"\r\n\r\n")
        for part in (head, b"data: 1\n\n", b": still here\n\n", b"data: 2\n\n"):
            listener.say(part)
            # Each before the next is said: nothing is held back until there is more.
            assert await reader.readexactly(len(part)) == part


async def test_a_client_that_hangs_up_is_hung_up_on_at_once(listener, door):
    async with connected(door) as (_, writer):
        writer.write(b"POST /mcp HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
        await listener.hears(b"{}")
        assert not listener.ended
    await until(lambda: listener.ended == 1)


async def test_the_end_of_an_answer_that_ends_with_its_connection_is_passed_on(listener, door):
    async with connected(door) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await listener.hears(b"\r\n\r\n")
        listener.say(b"HTTP/1.0 200 OK\r\n\r\nall there is")
        listener.writers[-1].close()
        assert await reader.read() == b"HTTP/1.0 200 OK\r\n\r\nall there is"


async def test_large_bodies_and_answers_arrive_whole(listener, door):
    body = bytes(range(256)) * 8192 + b"the end"
    async with connected(door) as (reader, writer):
        writer.write(b"POST /mcp HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await listener.hears(b"the end")
        assert bytes(listener.heard).endswith(b"\r\n\r\n" + body)
        listener.say(body)
        assert await reader.readexactly(len(body)) == body
