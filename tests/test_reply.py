"""Answers written without aiohttp's Response: whole, framed as they say, and with no header that was not meant."""

from __future__ import annotations

from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from gateway.endpoints.application import application
from gateway.endpoints.listener import Runner
from gateway.endpoints.reply import COPIED_BYTES, Reply, as_aiohttp
from tests.support.listening import listening
from tests.support.raw import connected, exchange, request, status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@asynccontextmanager
async def answering(reply: Callable[[], Reply]) -> AsyncIterator[str]:
    """Serve this reply to whatever is asked."""

    async def handler(_request: web.Request) -> Reply:
        return reply()

    plain = SimpleNamespace(around=lambda request: request.match_info.handler(request))
    runner = Runner(application(plain, [web.get("/", as_aiohttp(handler))]))
    async with listening(runner) as url:
        yield url


def parts(answer: bytes) -> tuple[list[str], bytes]:
    """Return the head's lines and the body of an answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.decode().split("\r\n"), body


PIECES = {
    "one": [b'{"a":1}'],
    "several small ones": [b"[", b"1", b"]"],
    "a large one": [bytes(COPIED_BYTES + 1)],
    "a large one between small ones": [b"[", b"1" * (3 * COPIED_BYTES), b"]"],
    "many": [b"x" * 100] * 1000,
    "more than a socket holds": [b"x" * 4_000_000, b"y" * 4_000_000],
}


@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES.keys())
async def test_a_body_in_pieces_arrives_whole_and_as_long_as_it_says(pieces: list[bytes]) -> None:
    async with answering(lambda: Reply(200, {"X-A": "b"}, *pieces)) as url:
        lines, body = parts(await exchange(url, request("GET / HTTP/1.1")))
    assert body == b"".join(pieces)
    assert lines[0] == "HTTP/1.1 200 OK"
    assert {"X-A: b", "Content-Type: application/json", f"Content-Length: {len(body)}"} <= set(lines)
    assert any(line.startswith("Date: ") and line.endswith(" GMT") for line in lines)


async def test_an_empty_body_has_a_length_and_no_type() -> None:
    async with answering(lambda: Reply(202, {})) as url:
        lines, body = parts(await exchange(url, request("GET / HTTP/1.1")))
    assert (lines[0], body) == ("HTTP/1.1 202 Accepted", b"")
    assert "Content-Length: 0" in lines
    assert not any(line.startswith("Content-Type") for line in lines)


async def test_a_connection_is_kept_until_the_peer_asks_for_its_end() -> None:
    async with answering(lambda: Reply(200, {}, b"{}")) as url, connected(url) as (reader, writer):
        for _ in range(3):
            writer.write(GET)
            assert b"Connection" not in await reader.readuntil(b"{}")
        writer.write(request("GET / HTTP/1.1"))
        assert b"\r\nConnection: close\r\n" in await reader.read()


async def test_answers_to_requests_sent_together_come_one_after_the_other() -> None:
    numbers = iter(range(100))
    async with answering(lambda: Reply(200, {}, b"<", b"%02d" % next(numbers), b">")) as url:
        sent = GET * 20 + request("GET / HTTP/1.1")
        answer = await exchange(url, sent)
    assert [answer.index(b"<%02d>" % n) for n in range(21)] == sorted(answer.index(b"<%02d>" % n) for n in range(21))
    assert answer.count(b"HTTP/1.1 200 OK") == 21


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: x=y", "a\nb", "a\rb", "a\0b"])
async def test_a_header_with_a_line_break_is_never_sent(value: str, caplog: pytest.LogCaptureFixture) -> None:
    async with answering(lambda: Reply(200, {"X-A": value}, b"{}")) as url:
        assert await exchange(url, request("GET / HTTP/1.1")) == b""
    assert "Unhandled exception" in caplog.text


async def test_what_no_route_serves_is_told_by_the_router() -> None:
    async with answering(lambda: Reply(200, {}, b"{}")) as url:
        assert status(await exchange(url, request("GET /nowhere HTTP/1.1"))) == 404
        assert status(await exchange(url, request("POST / HTTP/1.1"))) == 405
