"""The HTTP side of a request that may become a stream: when it does, what keeps it alive, who is too slow for it."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.config import Config
from gateway.endpoints.gate import INFO
from gateway.endpoints.listener import Deadlines, Runner
from gateway.endpoints.outlet import HttpOutlet, Lines
from gateway.endpoints.replies import answer
from gateway.errors import TooManyStreams
from gateway.mcp import sse
from gateway.model import ANONYMOUS, RequestInfo
from gateway.pulse import Pulse
from gateway.recording import Caller
from gateway.streams import Limits, Streams
from tests.support.listening import listening
from tests.support.raw import connected, exchange, request, status
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aiohttp import web

    Work = Callable[[HttpOutlet], Awaitable[None]]

BOTH = "Accept: application/json, text/event-stream"
DONE = b'{"done":true}'


class NoGate:
    """A gate that lets everybody go on."""

    door = SimpleNamespace(config=Config.model_validate({"mcp_servers": {}}))

    async def still(self, request: web.Request, caller: Caller) -> None:
        """Say nothing."""


class Served:
    """A listener whose one handler lets `work` use the outlet and then answers."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.pulse = Pulse(0.05)
        self.streams = Streams(limits)
        self.work: Work | None = None
        self.outlet: HttpOutlet | None = None
        self.over = asyncio.Event()
        self.url = ""

    async def handle(self, sent: web.Request) -> Any:
        self.over.clear()
        sent[INFO] = RequestInfo("r", "127.0.0.1", 0)
        self.outlet = HttpOutlet(sent, Lines(NoGate(), self.pulse, self.streams), Caller(ANONYMOUS, sent[INFO]))
        try:
            if self.work is not None:
                await self.work(self.outlet)
            return self.outlet.finished(answer(DONE))
        finally:
            self.outlet.close()
            self.over.set()

    async def get(self, *lines: str) -> bytes:
        return await exchange(self.url, request("GET / HTTP/1.1", *lines))


@asynccontextmanager
async def serving(limits: Limits | None = None, write: float = 30.0) -> AsyncIterator[Served]:
    served = Served(limits)
    runner = Runner(served.handle, deadlines=Deadlines(write=write))
    try:
        async with listening(runner) as served.url:
            yield served
    finally:
        served.pulse.close()


def events(answered: bytes) -> list[bytes]:
    """Return the data of a stream's events."""
    head, _, body = answered.partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head.lower()
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        whole += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]
    return [event.data for event in sse.Events(1 << 20).feed(whole)]


def is_stream(answered: bytes) -> bool:
    return b"content-type: text/event-stream" in answered.lower()


class Beats:
    """Counts the beats of a pulse."""

    def __init__(self, pulse: Pulse) -> None:
        self.count = 0
        pulse.join(self)

    def beat(self) -> None:
        self.count += 1

    async def silence(self, _outlet: HttpOutlet) -> None:
        """Work that says nothing for five beats."""
        before = self.count
        await until(lambda: self.count >= before + 5)


async def test_after_a_while_of_silence_it_is_a_stream_that_is_kept_alive():
    async with serving() as served:
        served.work = Beats(served.pulse).silence
        answered = await served.get(BOTH)
        assert is_stream(answered)
        assert answered.count(sse.COMMENT) >= 2
        assert b"x-accel-buffering: no" in answered.lower()
        assert b"x-request-id: r" in answered.lower()
        assert events(answered) == [DONE]


@pytest.mark.parametrize("accept", ["Accept: */*", "Accept: application/json", "X-None: 1"])
async def test_who_does_not_name_streams_is_not_made_to_take_one_by_silence(accept: str):
    async with serving() as served:
        served.work = Beats(served.pulse).silence
        answered = await served.get(accept)
        assert not is_stream(answered)
        assert answered.endswith(DONE)
        assert status(answered) == 200


async def test_what_is_said_arrives_before_what_comes_after_it():
    async def work(outlet: HttpOutlet) -> None:
        for number in range(100):
            assert await outlet.tell(json.dumps(number).encode())

    async with serving() as served:
        served.work = work
        answered = await served.get(BOTH)
        assert is_stream(answered)
        assert events(answered) == [b"%d" % number for number in range(100)] + [DONE]


async def test_the_connection_of_a_finished_stream_is_used_again():
    async def work(outlet: HttpOutlet) -> None:
        await outlet.tell(b"1")

    async with serving() as served, connected(served.url) as (reader, writer):
        served.work = work
        for _ in range(3):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n" + BOTH.encode() + b"\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"keep-alive" not in head.lower()
            assert (await reader.readuntil(b"0\r\n\r\n")).count(b"data: ") == 2


async def test_beyond_the_cap_an_answer_is_all_that_there_is():
    said: list[bool] = []

    async def work(outlet: HttpOutlet) -> None:
        said.append(await outlet.tell(b"1"))

    async with serving(Limits(total=0)) as served:
        served.work = work
        answered = await served.get(BOTH)
        assert not is_stream(answered)
        assert answered.endswith(DONE)
        served.work = silence_without_a_stream
        assert not is_stream(await served.get(BOTH))
    assert said == [False]


async def silence_without_a_stream(outlet: HttpOutlet) -> None:
    await until(lambda: not outlet.open)


async def test_who_asks_for_a_stream_outright_is_told_that_there_is_none():
    async with serving(Limits(total=0)) as served:

        async def work(outlet: HttpOutlet) -> None:
            with pytest.raises(TooManyStreams):
                await outlet.begin()

        served.work = work
        assert not is_stream(await served.get(BOTH))


async def test_a39_a_reader_that_takes_nothing_is_hung_up_on_and_nothing_piles_up_for_it():
    said = 0

    async def work(outlet: HttpOutlet) -> None:
        nonlocal said
        while await outlet.tell(b"x" * 65_536):
            said += 1

    async with serving(write=0.3) as served, connected(served.url) as (_, writer):
        served.work = work
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n" + BOTH.encode() + b"\r\n\r\n")
        await until(lambda: said > 0)
        # The handler is cancelled when the connection is given up.
        await asyncio.wait_for(served.over.wait(), 10)
        assert said < 1000
        assert len(served.streams) == 0


async def test_who_has_left_is_told_nothing_and_whoever_waits_for_it_hears():
    left: list[str] = []

    async def work(outlet: HttpOutlet) -> None:
        assert await outlet.tell(b"1")
        outlet.on_gone(lambda: left.append("left"))
        outlet.leave()
        assert not outlet.open
        assert not await outlet.tell(b"2")

    async with serving() as served:
        served.work = work
        assert events(await served.get(BOTH)) == [b"1", DONE]
    assert left == ["left"]


async def test_many_said_in_one_turn_are_one_write():
    async def work(outlet: HttpOutlet) -> None:
        for number in range(50):
            await outlet.tell(b"%d" % number)

    async with serving() as served:
        served.work = work
        _, _, body = (await served.get(BOTH)).partition(b"\r\n\r\n")
        # One chunk of all that was said, and the end.
        size = int(body.partition(b"\r\n")[0], 16)
        assert body[: size + 20].count(b"data: ") == 51
