"""The listener against slow, silent and many connections (A39); it fails if aiohttp changes what it leans on."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from gateway.audit import AuditTrail
from gateway.config import Config
from gateway.endpoints.application import Onion, application
from gateway.endpoints.bodies import Bodies
from gateway.endpoints.gate import INFO, Gate
from gateway.endpoints.heads import request_info
from gateway.endpoints.listener import Deadlines, Runner
from gateway.endpoints.reply import Reply, as_aiohttp
from gateway.metrics import Metrics
from tests.support.listening import listening as on_loopback
from tests.support.raw import connected, exchange, request, status
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.model import RequestInfo

HEAD = 0.3
WRITE = 0.5
LARGE = 32 * 1024 * 1024
GET = request("GET / HTTP/1.1")
KEPT = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def nothing(events: object) -> None:
    """Keep no events."""


class Handlers:
    """What is behind the listener; it counts what is begun, finished and cancelled."""

    def __init__(self) -> None:
        self.begun = self.finished = self.cancelled = 0
        self.go = asyncio.Event()
        self.server: Any = None

    async def answer(self, request: web.Request) -> web.Response:
        """Answer at once, with the size of the body as it came."""
        return web.Response(text=str(len(await request.read())))

    async def large(self, request: web.Request) -> web.Response:
        """Answer more than the sockets between two processes hold."""
        return web.Response(body=bytes(LARGE))

    async def reply(self, request: web.Request) -> Reply:
        """Answer as much without aiohttp's Response, in pieces."""
        return Reply(200, {}, *[bytes(LARGE // 4)] * 4)

    async def limited(self, request: web.Request) -> web.Response:
        """Read the body as the endpoints do, with little patience."""
        config = Config.model_validate({"mcp_servers": {}})
        trail = AuditTrail(nothing)
        gate = Gate(lambda: pytest.fail("no door is asked for"), trail, bodies=Bodies(HEAD))
        request[INFO] = request_info(request, config)
        body = await gate.body(request, SimpleNamespace(config=config))
        return web.Response(text=str(len(body)))

    async def wait(self, request: web.Request) -> web.Response:
        """Answer when told."""
        self.begun += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.finished += 1
        return web.Response(text="done")


@asynccontextmanager
async def listening(handlers: Handlers, *, per_peer: int = 20, proxy: str = "") -> AsyncIterator[str]:
    routes = [web.get("/", handlers.answer), web.post("/", handlers.answer), web.get("/wait", handlers.wait)]
    routes += [web.get("/large", handlers.large), web.post("/limited", handlers.limited)]
    routes += [web.post("/wait", handlers.wait), web.get("/reply", as_aiohttp(handlers.reply))]
    plain = SimpleNamespace(around=lambda request: request.match_info.handler(request))
    deadlines, of_proxy = Deadlines(HEAD, WRITE), lambda peer: peer == proxy
    runner = Runner(application(plain, routes), deadlines=deadlines, per_peer=per_peer, is_proxy=of_proxy)
    async with on_loopback(runner) as url:
        handlers.server = runner.server
        yield url


async def closed(reader: asyncio.StreamReader, seconds: float = 5) -> bytes:
    """Wait until the other side closes and return what came before; raises TimeoutError."""
    async with asyncio.timeout(seconds):
        with contextlib.suppress(ConnectionResetError):
            return await reader.read()
    return b""


@pytest.mark.parametrize(
    "beginning", [b"", b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nX-Pad: "], ids=repr
)
async def test_a39_a_head_that_is_not_whole_in_time_is_hung_up_on(beginning: bytes) -> None:
    async with listening(Handlers()) as url, connected(url) as (reader, writer):
        writer.write(beginning)
        assert b"200" not in await closed(reader)


async def test_a39_a_head_that_drips_does_not_buy_time_with_every_byte() -> None:
    async with listening(Handlers()) as url, connected(url) as (reader, writer):

        async def drip() -> None:
            writer.write(b"GET / HTTP/1.1\r\nX-Pad: ")
            while True:
                writer.write(b"x")
                await asyncio.sleep(HEAD / 10)

        task = asyncio.create_task(drip())
        try:
            await closed(reader)
        finally:
            task.cancel()


async def test_a39_the_next_head_on_a_kept_connection_has_a_deadline_too() -> None:
    async with listening(Handlers()) as url, connected(url) as (reader, writer):
        writer.write(KEPT)
        assert await reader.readuntil(b"\r\n\r\n0")
        writer.write(b"GET / HT")
        assert await closed(reader) == b""


BODY = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n1234567890"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n\r\n\r\n\r\n0\r\n\r\n"
SLOW = b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"
SLOW_BODY = BODY.replace(b"POST /", b"POST /wait")
SLOW_CHUNKED = CHUNKED.replace(b"POST /", b"POST /wait")


BEGUN = (
    (SLOW, b"GET / HT"),
    (SLOW + b"G",),
    (SLOW_BODY, b"G"),
    (SLOW_BODY + b"GET / HTTP/1.1\r\n",),
    (SLOW_BODY[:-4], SLOW_BODY[-4:] + b"GET"),
    (SLOW_CHUNKED + b"GET",),
    (SLOW_CHUNKED[:-6], SLOW_CHUNKED[-6:] + b"GET / HT"),
    (SLOW[:-1], SLOW[-1:] + b"GET"),
    (KEPT + SLOW + b"GET",),
)
WHOLE = (
    (SLOW,),
    (SLOW[:9], SLOW[9:]),
    (SLOW_BODY,),
    (SLOW_BODY[:-4], SLOW_BODY[-4:]),
    (SLOW_BODY[:30], SLOW_BODY[30:]),
    (SLOW_CHUNKED,),
    (SLOW_CHUNKED[:-1], SLOW_CHUNKED[-1:]),
    (SLOW_CHUNKED[:-9], SLOW_CHUNKED[-9:]),
    (KEPT + BODY + SLOW_BODY,),
)


@asynccontextmanager
async def sent(*pieces: bytes) -> AsyncIterator[tuple[Handlers, asyncio.StreamReader]]:
    """Send bytes piece by piece to a listener of their own; a request in them waits to be answered."""
    handlers = Handlers()
    async with listening(handlers) as url, connected(url) as (reader, writer):
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.02)
        await until(lambda: handlers.begun)
        yield handlers, reader


async def test_a39_a_head_that_is_begun_while_an_earlier_request_runs_has_its_deadline_too() -> None:
    async def hung_up_on(pieces: tuple[bytes, ...]) -> bool:
        async with sent(*pieces) as (handlers, reader):
            return b"done" not in await closed(reader) and handlers.cancelled == 1

    assert await asyncio.gather(*map(hung_up_on, BEGUN)) == [True] * len(BEGUN)


async def test_a_request_behind_which_nothing_is_begun_may_take_its_time_however_it_came() -> None:
    async def answered(pieces: tuple[bytes, ...]) -> bool:
        async with sent(*pieces) as (handlers, reader):
            # Longer than a head may take.
            await asyncio.sleep(HEAD * 1.5)
            handlers.go.set()
            async with asyncio.timeout(5):
                return b"done" in await reader.readuntil(b"done")

    assert await asyncio.gather(*map(answered, WHOLE)) == [True] * len(WHOLE)


async def test_a_kept_connection_may_be_silent_between_requests_and_be_used_again() -> None:
    async with listening(Handlers()) as url, connected(url) as (reader, writer):
        for _ in range(2):
            writer.write(KEPT)
            assert await reader.readuntil(b"\r\n\r\n0")
            # Longer than a head may take, which counts only once one is begun.
            await asyncio.sleep(HEAD * 1.5)
        assert not reader.at_eof()


async def test_a_request_that_takes_longer_than_its_head_may_is_answered() -> None:
    handlers = Handlers()
    async with listening(handlers) as url:
        asked = asyncio.create_task(exchange(url, request("GET /wait HTTP/1.1")))
        await until(lambda: handlers.begun)
        await asyncio.sleep(HEAD * 1.5)
        handlers.go.set()
        assert (await asked).endswith(b"done")


async def test_a39_one_peer_holds_only_so_many_connections_and_gets_its_place_back() -> None:
    async with listening(Handlers(), per_peer=3) as url, AsyncExitStack() as stack:
        held = [await stack.enter_async_context(connected(url)) for _ in range(3)]
        assert await exchange(url, GET) == b""
        held[0][1].transport.abort()

        async def served() -> bool:
            return status(await exchange(url, GET)) == 200

        await until(served)


async def test_a_trusted_proxy_holds_the_connections_of_many_peers() -> None:
    async with listening(Handlers(), per_peer=3, proxy="127.0.0.1") as url, AsyncExitStack() as stack:
        for _ in range(5):
            await stack.enter_async_context(connected(url))
        assert status(await exchange(url, GET)) == 200


async def test_a39_half_open_connections_leave_a_good_client_served() -> None:
    async with listening(Handlers(), per_peer=200) as url, AsyncExitStack() as stack:
        for _ in range(150):
            _, writer = await stack.enter_async_context(connected(url))
            writer.write(b"GET / HTTP/1.1\r\n")
        assert [status(await exchange(url, GET)) for _ in range(20)] == [200] * 20


async def test_a39_a_body_that_does_not_come_in_time_is_given_up() -> None:
    head = b"POST /limited HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n"
    async with listening(Handlers()) as url:
        assert status(await exchange(url, head + b"12345")) == 408
        assert b"200 OK" in await exchange(url, head.replace(b"Host", b"Connection: close\r\nHost") + b"1234567890")


@pytest.mark.parametrize("path", ["/large", "/reply"])
async def test_a39_a_peer_that_takes_no_more_of_an_answer_is_hung_up_on(path: str) -> None:
    handlers = Handlers()
    async with listening(handlers) as url, connected(url) as (reader, writer):
        writer.write(request(f"GET {path} HTTP/1.1"))
        assert handlers.server
        await until(lambda: handlers.server.connections)
        await until(lambda: not handlers.server.connections)
        assert 0 < len(await closed(reader)) < LARGE


@pytest.mark.parametrize("path", ["/large", "/reply"])
async def test_a_peer_that_reads_slowly_and_steadily_gets_all_of_an_answer(path: str) -> None:
    async with listening(Handlers()) as url, connected(url) as (reader, writer):
        writer.write(request(f"GET {path} HTTP/1.1"))
        got = 0
        while part := await reader.read(LARGE // 16):
            got += len(part)
            await asyncio.sleep(WRITE / 50)
        assert got > LARGE


async def test_a38_a_body_is_not_decoded_on_the_way_in() -> None:
    bomb = b"\x1f\x8b" + b"\0" * 98
    async with listening(Handlers()) as url:
        answer = await exchange(url, request("POST / HTTP/1.1", "Content-Encoding: gzip", body=bomb))
    assert (status(answer), answer[-3:]) == (200, b"100")


async def test_a36_what_cannot_be_read_is_counted_and_recorded_without_a_word_of_it() -> None:
    refused: list[tuple[RequestInfo, str]] = []
    metrics = Metrics(lambda tenant: False)
    onion = Onion(lambda: Config.model_validate({"mcp_servers": {}}), metrics, lambda *one: refused.append(one))
    async with on_loopback(Runner(application(onion, []))) as url:
        answer = await exchange(url, b"GET /\0secret HTTP/1.1\r\n\r\n")
    ((info, why),) = refused
    assert status(answer) == 400
    assert info.ip == "127.0.0.1"
    assert info.id in answer.decode()
    assert "secret" not in why + answer.decode()
    assert b'status="400"} 1.0' in await metrics.exposition()


async def test_a_client_that_hangs_up_cancels_what_was_begun_for_it() -> None:
    handlers = Handlers()
    async with listening(handlers) as url:
        async with connected(url) as (_, writer):
            writer.write(request("GET /wait HTTP/1.1"))
            await until(lambda: handlers.begun)
        await until(lambda: handlers.cancelled)


async def test_what_is_under_way_is_finished_when_the_listener_ends() -> None:
    handlers = Handlers()
    async with listening(handlers) as url:
        asked = asyncio.create_task(exchange(url, request("GET /wait HTTP/1.1")))
        await until(lambda: handlers.begun)
        handlers.go.set()
    assert (await asked).endswith(b"done")
    assert handlers.finished == 1
