"""Answers that come message by message: as they arrive, no faster than they are used, and with an end."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import uvloop

from gateway.addresses import Addresses
from gateway.dial import Dialer
from gateway.errors import UpstreamFailed
from gateway.upstream.connection import HIGH_WATER_BYTES
from gateway.upstream.connections import Connections
from gateway.upstream.errands import Errands
from gateway.upstream.http import Endpoint
from gateway.upstream.target import Target
from tests.support.scripted import (
    LAST_CHUNK,
    STREAM_HEAD,
    Asked,
    answer,
    chunk,
    counted,
    event,
    head,
    progress,
    scripted,
    streamed,
)
from tests.support.wait import until
from tests.support.wire import Wires, turns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.upstream.stream import Stream
    from tests.support.scripted import Scripted

# What one look at the socket may bring on top, on either loop.
ONE_LOOK_BYTES = 256 * 1024


@asynccontextmanager
async def to(server: Scripted) -> AsyncIterator[Endpoint]:
    port = int(server.url.rpartition(":")[2].partition("/")[0])
    connections, errands = Connections(Dialer(Addresses.of_server(), "127.0.0.1", port)), Errands()
    try:
        yield Endpoint(Target("payments", server.url), connections, errands)
    finally:
        await errands.close()
        await connections.close()


async def bodies(stream: Stream) -> list[bytes]:
    return [message.body async for message in stream]


def text_of(stream: Stream) -> str:
    assert stream.reply.answer is not None
    return str(stream.reply.answer.member("content")[0]["text"])


async def test_each_message_is_there_as_soon_as_it_was_sent_and_the_answer_at_the_end():
    heard = asyncio.Queue[int]()

    async def reports(asked: Asked) -> None:
        await asked.send(STREAM_HEAD)
        for number in range(1, 4):
            await asked.send(chunk(event(progress(number))))
            # The next one is not sent before this one has been used.
            assert await heard.get() == number
        await asked.send(chunk(event(answer(1))) + LAST_CHUNK)

    async with scripted(reports) as server, to(server) as endpoint, asyncio.timeout(10):
        async with endpoint.stream(1, b"{}", {}) as stream:
            number = 0
            async for message in stream:
                number += 1
                assert (message.method, message.id) == ("notifications/progress", None)
                assert message.body == progress(number)
                heard.put_nowait(number)
            assert number == 3
            assert text_of(stream) == "done"
        async with endpoint.stream(1, b"{}", {}) as stream:
            heard.put_nowait(1)
        assert server.connections == 1


async def test_status_and_type_are_known_before_the_first_message():
    release = asyncio.Event()

    async def waits(asked: Asked) -> None:
        await asked.send(STREAM_HEAD.replace(b"event-stream", b"event-stream; charset=utf-8"))
        await release.wait()
        await asked.send(chunk(event(answer(1))) + LAST_CHUNK)

    async with scripted(waits) as server, to(server) as endpoint, endpoint.stream(1, b"{}", {}) as stream:
        assert (stream.status, stream.content_type, stream.session) == (200, "text/event-stream", None)
        with pytest.raises(UpstreamFailed, match="broke off before it answered"):
            _ = stream.reply
        release.set()
        assert await bodies(stream) == []
        assert text_of(stream) == "done"


async def test_an_answer_without_a_stream_is_the_end_of_no_messages():
    async def answers(asked: Asked) -> None:
        await asked.send(counted(answer(1), "Mcp-Session-Id: s"))

    async with scripted(answers) as server, to(server) as endpoint:
        for _ in range(2):
            async with endpoint.stream(1, b"{}", {}) as stream:
                assert (stream.content_type, stream.session) == ("application/json", "s")
                assert await bodies(stream) == []
                assert text_of(stream) == "done"
        assert server.connections == 1


@pytest.mark.parametrize("status", ["400 Bad Request", "503 Service Unavailable"])
async def test_an_http_error_is_the_end_of_no_messages_too(status: str):
    async def refuses(asked: Asked) -> None:
        await asked.send(counted(b"<html>", media_type="text/html", status=status))

    async with scripted(refuses) as server, to(server) as endpoint, endpoint.stream(1, b"{}", {}) as stream:
        assert await bodies(stream) == []
        assert (stream.reply.status, stream.reply.answer) == (int(status[:3]), None)


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n", b"\r"])
async def test_messages_are_the_same_wherever_they_are_cut(line_end: bytes):
    events = b"".join(map(event, [progress(1), progress(2, padding=9), answer(1)])).replace(b"\r\n", line_end)
    for places in [[place] for place in range(1, len(events))] + [list(range(1, len(events)))]:
        wires = Wires()
        seen: list[bytes] = []
        task = asyncio.create_task(
            read_into(seen, Endpoint(Target("payments", "http://x"), Connections(wires), Errands()))
        )
        await turns()
        edges = [0, *places, len(events)]
        pieces = [events[start:end] for start, end in pairwise(edges)]
        await wires.made[0].receive([STREAM_HEAD, *map(chunk, pieces), LAST_CHUNK])
        assert await task == "done"
        assert seen == [progress(1), progress(2, padding=9)]


async def read_into(seen: list[bytes], endpoint: Endpoint) -> str:
    async with endpoint.stream(1, b"{}", {}) as stream:
        seen += await bodies(stream)
    return text_of(stream)


async def test_a_server_that_floods_is_made_to_wait_for_who_reads():
    flood = [progress(number, padding=1000) for number in range(16_000)]
    finished = asyncio.Event()

    async def floods(asked: Asked) -> None:
        await asked.send(STREAM_HEAD)
        for first in range(0, len(flood), 100):
            await asked.send(b"".join(chunk(event(data)) for data in flood[first : first + 100]))
        await asked.send(chunk(event(answer(1))) + LAST_CHUNK)
        finished.set()

    async with scripted(floods) as server, to(server) as endpoint, endpoint.stream(1, b"{}", {}) as stream:
        exchange = stream._exchange
        messages = aiter(stream)
        seen = [(await anext(messages)).body]
        await until(lambda: exchange._line._paused)
        await until(server.asked[0].writer.transport.get_write_buffer_size)
        assert not finished.is_set()
        assert HIGH_WATER_BYTES < exchange._unread <= HIGH_WATER_BYTES + ONE_LOOK_BYTES
        async for message in messages:
            seen.append(message.body)
            assert exchange._unread <= HIGH_WATER_BYTES + ONE_LOOK_BYTES
        assert seen == flood
        assert text_of(stream) == "done"
        await asyncio.wait_for(finished.wait(), 10)


async def test_who_stops_reading_a_flood_closes_its_connection():
    gone = asyncio.Event()

    async def floods(asked: Asked) -> None:
        await asked.send(STREAM_HEAD)
        try:
            while True:
                await asked.send(chunk(event(progress(1, padding=10_000))))
        finally:
            gone.set()

    async with scripted(floods) as server, to(server) as endpoint:
        async with endpoint.stream(1, b"{}", {}) as stream:
            await anext(aiter(stream))
        await asyncio.wait_for(gone.wait(), 10)
        gone.clear()

        async def reads_on() -> None:
            async with endpoint.stream(2, b"{}", {}) as stream:
                async for _ in stream:
                    pass

        task = asyncio.create_task(reads_on())
        await until(lambda: len(server.asked) == 2)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await asyncio.wait_for(gone.wait(), 10)
        gone.clear()
        with pytest.raises(LookupError):
            async with endpoint.stream(3, b"{}", {}) as stream:
                raise LookupError
        await asyncio.wait_for(gone.wait(), 10)


BROKEN = {
    "ends without an answer": (streamed(progress(1)), "broke off before it answered"),
    "ends within the answer": (STREAM_HEAD + chunk(event(progress(1)) + b"data: {") + LAST_CHUNK, "broke off"),
    "is cut off": (STREAM_HEAD + chunk(event(progress(1))), "broke off before it answered"),
    "is no stream any more": (STREAM_HEAD + chunk(event(progress(1))) + b"zz\r\n", "does not speak HTTP"),
    "says what is no message": (streamed(progress(1), b"hello"), "JSON-RPC"),
    "answers another request": (streamed(progress(1), answer(2)), "another request"),
    "has an event without an end": (
        STREAM_HEAD + chunk(event(progress(1))) + chunk(b"data: " + b"x" * (17 * 1024 * 1024)),
        "more than 16 MiB",
    ),
}


@pytest.mark.parametrize(("data", "why"), BROKEN.values(), ids=BROKEN)
async def test_a_stream_without_its_answer_is_a_failure_after_all_that_came_before(data: bytes, why: str):
    async def breaks(asked: Asked) -> None:
        await asked.send(data)
        asked.writer.close()

    async with scripted(breaks) as server, to(server) as endpoint:
        async with endpoint.stream(1, b"{}", {}) as stream:
            messages = aiter(stream)
            assert (await anext(messages)).body == progress(1)
            with pytest.raises(UpstreamFailed, match=why):
                await anext(messages)
        await until(lambda: server.open == 0)


async def test_a_stream_may_say_more_than_an_answer_may_hold():
    """What is used as it comes piles up nowhere; only who waits for the answer alone has a bound for all of it."""
    noise = chunk(event(progress(1, padding=1024 * 1024)))

    async def reports(asked: Asked) -> None:
        await asked.send(STREAM_HEAD)
        for _ in range(17):
            await asked.send(noise)
        await asked.send(chunk(event(answer(1))) + LAST_CHUNK)

    async with scripted(reports) as server, to(server) as endpoint:
        async with endpoint.stream(1, b"{}", {}) as stream:
            assert len(await bodies(stream)) == 17
        with pytest.raises(UpstreamFailed, match="more than 16 MiB"):
            await endpoint.ask(1, b"{}", {})


async def test_what_a_server_asks_can_be_refused_and_is_where_nobody_listens():
    question = b'{"jsonrpc":"2.0","id":"q-1","method":"elicitation/create","params":{}}'
    ping = b'{"jsonrpc":"2.0","id":2,"method":"ping"}'

    async def asks(asked: Asked) -> None:
        if "id" in asked.message and "method" not in asked.message:
            await asked.send(head("Content-Length: 0", status="202 Accepted"))
        else:
            await asked.send(streamed(question, progress(1), ping, answer(1)))

    async with scripted(asks) as server, to(server) as endpoint:
        async with endpoint.stream(1, b"{}", {}) as stream:
            messages = [message async for message in stream]
            assert [message.id for message in messages] == [b'"q-1"', None, b"2"]
            for message in messages:
                endpoint.refuse(message, {"Mcp-Session-Id": "s"})
        await until(lambda: len(server.asked) == 3)
        refused = {str(asked.message["id"]): asked for asked in server.asked[1:]}
        assert refused["q-1"].message["error"]["code"] == -32601
        assert refused["2"].message["result"] == {}
        assert refused["2"].headers["mcp-session-id"] == "s"
        await endpoint.ask(1, b"{}", {})
        await until(lambda: len(server.asked) == 6)


# --- the stream that answers nothing --------------------------------------------------------------------------------


async def test_an_older_servers_stream_is_listened_to_until_the_server_ends_it():
    heard = asyncio.Queue[int]()

    async def talks(asked: Asked) -> None:
        await asked.send(STREAM_HEAD + chunk(b": hello\n\n"))
        for number in range(3):
            await asked.send(chunk(event(progress(number))))
            assert await heard.get() == number
        await asked.send(LAST_CHUNK)

    async with scripted(talks) as server, to(server) as endpoint, asyncio.timeout(10):
        async with endpoint.listen({"Mcp-Session-Id": "s"}) as stream:
            number = 0
            async for message in stream:
                assert message.body == progress(number)
                heard.put_nowait(number)
                number += 1
            assert (stream.reply.status, stream.reply.answer) == (200, None)
        asked = server.asked[0]
        assert (asked.verb, asked.body, asked.headers["accept"]) == ("GET", b"", "text/event-stream")
        assert asked.headers["mcp-session-id"] == "s"
        assert not {"content-type", "content-length"} & set(asked.headers)


async def test_a_server_without_such_a_stream_says_so():
    async def refuses(asked: Asked) -> None:
        await asked.send(counted(b"", status="405 Method Not Allowed"))

    async with scripted(refuses) as server, to(server) as endpoint:
        for _ in range(2):
            async with endpoint.listen({}) as stream:
                assert stream.status == 405
                assert await bodies(stream) == []
                assert stream.reply.status == 405
        assert server.connections == 1


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (counted(b"<html>", media_type="text/html"), "did not answer with a stream"),
        (counted(answer(1)), "did not answer with a stream"),
        (streamed(answer(1)), "another request"),
        (STREAM_HEAD, "broke off"),
    ],
    ids=["HTML", "JSON", "an answer to nothing", "an abrupt end"],
)
async def test_what_is_no_such_stream_is_a_failure(data: bytes, why: str):
    async def odd(asked: Asked) -> None:
        await asked.send(data)
        asked.writer.close()

    async with scripted(odd) as server, to(server) as endpoint:
        with pytest.raises(UpstreamFailed, match=why):
            async with endpoint.listen({}) as stream:
                await bodies(stream)


async def test_who_stops_listening_closes_the_connection():
    gone = asyncio.Event()

    async def waits(asked: Asked) -> None:
        await asked.send(STREAM_HEAD)
        await asked.gone()
        gone.set()

    async def listens(endpoint: Endpoint) -> None:
        async with endpoint.listen({}) as stream:
            await bodies(stream)

    async with scripted(waits) as server, to(server) as endpoint:
        task = asyncio.create_task(listens(endpoint))
        await until(lambda: server.asked)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.wait_for(gone.wait(), 10)


async def test_it_is_the_same_on_the_loop_that_the_gateway_runs_on():
    async def everything() -> None:
        await test_each_message_is_there_as_soon_as_it_was_sent_and_the_answer_at_the_end()
        await test_a_server_that_floods_is_made_to_wait_for_who_reads()
        await test_who_stops_reading_a_flood_closes_its_connection()
        await test_an_older_servers_stream_is_listened_to_until_the_server_ends_it()
        await test_who_stops_listening_closes_the_connection()
        for data, why in BROKEN.values():
            await test_a_stream_without_its_answer_is_a_failure_after_all_that_came_before(data, why)

    await asyncio.to_thread(uvloop.run, everything())
