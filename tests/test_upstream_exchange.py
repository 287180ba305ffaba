"""One request, one answer, on one connection: whatever the server makes of it, and wherever its bytes are cut."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.addresses import Addresses
from gateway.dial import Dialer
from gateway.errors import UpstreamFailed
from gateway.upstream.connection import MAX_RESTING
from gateway.upstream.connections import Connections
from gateway.upstream.errands import Errands
from gateway.upstream.http import Endpoint
from gateway.upstream.stream import Reply
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
from tests.support.wire import Wire, Wires, turns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.scripted import Scripted

JSON = "Content-Type: application/json"
DONE = answer(1)


def endpoint(connections: Connections, url: str = "http://server.test/mcp", **target) -> Endpoint:
    return Endpoint(Target("payments", url, **target), connections, Errands())


@asynccontextmanager
async def to(server: Scripted, *, idle_seconds: float = 4.0) -> AsyncIterator[Endpoint]:
    port = int(server.url.rpartition(":")[2].partition("/")[0])
    connections = Connections(Dialer(Addresses.of_server(), "127.0.0.1", port), idle_seconds=idle_seconds)
    try:
        yield endpoint(connections, server.url)
    finally:
        await connections.close()


async def ask(to: Endpoint, id_: int = 1, body: bytes = b"{}") -> Reply:
    async with asyncio.timeout(10):
        return await to.ask(id_, body, {})


async def failure_of(to: Endpoint, id_: int = 1) -> str:
    with pytest.raises(UpstreamFailed) as failed:
        await ask(to, id_)
    assert failed.value.server == "payments"
    return failed.value.why


def text_of(reply: Reply) -> str:
    assert reply.answer is not None
    return str(reply.answer.member("content")[0]["text"])


# --- what is good, and wherever it is cut ---------------------------------------------------------------------------

GOOD = {
    "JSON": counted(DONE),
    "JSON in chunks": head(JSON, "Transfer-Encoding: chunked") + chunk(DONE[:9]) + chunk(DONE[9:]) + LAST_CHUNK,
    "JSON with a trailer": head(JSON, "Transfer-Encoding: chunked") + chunk(DONE) + b"0\r\nX: y\r\n\r\n",
    "JSON after interim answers": head(status="100 Continue")
    + head("Link: <x>", status="103 Early Hints")
    + counted(DONE),
    "a stream": streamed(DONE),
    "a stream with messages before the answer": streamed(progress(1), progress(2), DONE),
    "a stream with a comment and an id": STREAM_HEAD
    + chunk(b": hello\n\n")
    + chunk(b"id: 7\nevent: message\ndata: " + DONE + b"\n\n")
    + LAST_CHUNK,
    "a stream that is counted": counted(event(DONE), media_type="text/event-stream"),
}


async def outcome(pieces: list[bytes], *, hang_up: bool = False) -> tuple[Reply | str, bool]:
    """Return what came of an answer in these pieces, and whether another request went over the same connection."""
    wires = Wires()
    asking = endpoint(Connections(wires))
    task = asyncio.create_task(asking.ask(1, b"{}", {}))
    await turns()
    await wires.made[0].receive(pieces)
    if hang_up:
        await wires.made[0].hang_up()
    await turns()
    assert task.done()
    try:
        result: Reply | str = task.result()
    except UpstreamFailed as error:
        result = str(error)
    another = asyncio.create_task(asking.ask(2, b"{}", {}))
    await turns()
    another.cancel()
    await asyncio.wait([another])
    return result, len(wires.made) == 1


def cut(data: bytes, *places: int) -> list[bytes]:
    return [data[start:end] for start, end in pairwise([0, *places, len(data)])]


@pytest.mark.parametrize("data", GOOD.values(), ids=GOOD)
async def test_an_answer_is_the_same_wherever_it_is_cut(data: bytes):
    whole = await outcome([data])
    assert isinstance(whole[0], Reply)
    assert text_of(whole[0]) == "done"
    assert whole[1]
    for place in range(1, len(data)):
        assert await outcome(cut(data, place)) == whole
    assert await outcome(cut(data, *range(1, len(data)))) == whole


UNTIL_CLOSED = {
    "JSON": head(JSON) + DONE,
    "JSON of an older version": head(JSON, "Connection: keep-alive", version="1.0") + DONE,
    "a stream": head("Content-Type: text/event-stream", version="1.0") + event(progress(1)) + event(DONE),
}


@pytest.mark.parametrize("data", UNTIL_CLOSED.values(), ids=UNTIL_CLOSED)
async def test_an_answer_may_end_with_its_connection(data: bytes):
    for place in range(1, len(data)):
        result, reused = await outcome(cut(data, place), hang_up=True)
        assert isinstance(result, Reply)
        assert text_of(result) == "done"
        assert not reused


async def test_an_answer_that_a_broken_connection_ended_is_none():
    wires = Wires()
    task = asyncio.create_task(ask(endpoint(Connections(wires))))
    await turns()
    await wires.made[0].receive([head(JSON) + DONE])
    await wires.made[0].hang_up(ConnectionResetError())
    with pytest.raises(UpstreamFailed, match="broke off"):
        await task


@pytest.mark.parametrize(
    "data", [GOOD["JSON"], GOOD["JSON in chunks"], GOOD["a stream"]], ids=["JSON", "chunks", "SSE"]
)
async def test_an_answer_that_breaks_off_is_none_wherever_it_does(data: bytes):
    # A stream's answer is whole before the stream is.
    for end in range(1, data.index(DONE[9:]) + len(DONE[9:])):
        result, reused = await outcome([data[:end]], hang_up=True)
        assert result == "payments: broke off before it answered"
        assert not reused


# --- what is hostile ------------------------------------------------------------------------------------------------

CHUNKS = head(JSON, "Transfer-Encoding: chunked")
HOSTILE = {
    "no HTTP": (b"220 smtp ready\r\n", "does not speak HTTP"),
    "bare line feeds": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}", "does not speak HTTP"),
    "a folded header": (head(JSON, "X: 1\r\n 2", "Content-Length: 2") + b"{}", "does not speak HTTP"),
    "both lengths": (head(JSON, "Content-Length: 2", "Transfer-Encoding: chunked") + b"{}", "does not speak HTTP"),
    "two lengths": (head(JSON, "Content-Length: 2", "Content-Length: 3") + b"{} ", "does not speak HTTP"),
    "an unknown coding": (head(JSON, "Transfer-Encoding: gzip, chunked"), "does not speak HTTP"),
    "a head without an end": (head("X: " + "x" * 100_000), "does not speak HTTP"),
    "headers without an end": (head(*["X: y"] * 10_000), "does not speak HTTP"),
    "interim answers without an end": (head(status="100 Continue") * 100, "does not speak HTTP"),
    "another protocol from now on": (head("Upgrade: x", status="101 Switching Protocols"), "does not speak HTTP"),
    "a broken chunk": (CHUNKS + b"zz\r\n", "does not speak HTTP"),
    "a chunk longer than its size": (CHUNKS + b"2\r\n{}}\r\n0\r\n\r\n", "does not speak HTTP"),
    "a chunk size without an end": (CHUNKS + b"0" * 5_000, "does not speak HTTP"),
    "trailers without an end": (CHUNKS + chunk(DONE) + b"0\r\n" + b"X: y\r\n" * 10_000, "does not speak HTTP"),
    "a length beyond the cap": (head(JSON, "Content-Length: 99999999"), "answered more than 16 MiB"),
    "a length beyond all": (head(JSON, "Content-Length: 9999999999999"), "does not speak HTTP"),
    "a redirect": (
        counted(DONE, "Location: http://127.0.0.1:1/", status="307 Temporary Redirect"),
        "answered 307, and redirects are not followed",
    ),
    "not modified": (head(JSON, status="304 Not Modified"), "answered 304, and redirects are not followed"),
    "compression": (counted(b"\x1f\x8b", "Content-Encoding: gzip"), "answered compressed, unasked"),
    "compression as an afterthought": (
        counted(DONE, "Content-Encoding: identity", "Content-Encoding: br"),
        "answered compressed, unasked",
    ),
    "a compressed stream": (
        streamed(DONE).replace(b"\r\n", b"\r\nContent-Encoding: gzip\r\n", 1),
        "answered compressed, unasked",
    ),
    "no content": (head(status="204 No Content"), "did not answer with JSON"),
    "two types of content": (counted(DONE, "Content-Type: text/html"), "did not answer with JSON"),
    "another request's answer": (counted(answer(2)), "answered another request than the one sent"),
    "a stream with another request's answer": (streamed(answer(2)), "answered another request than the one sent"),
    "a stream that ends without an answer": (streamed(progress(1)), "broke off before it answered"),
    "a stream with half an event": (STREAM_HEAD + chunk(b"data: " + DONE) + LAST_CHUNK, "broke off before it answered"),
}


@pytest.mark.parametrize(("data", "why"), HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_answer_is_a_failure_at_once_and_its_connection_is_never_used_again(data: bytes, why: str):
    async def hostile(asked: Asked) -> None:
        await asked.send(counted(answer(2)) if asked.message == 2 else data)

    async with scripted(hostile) as server, to(server) as asking:
        assert await failure_of(asking) == why
        assert text_of(await ask(asking, 2, b"2")) == "done"
        assert [asked.connection for asked in server.asked] == [1, 2]
        await until(lambda: server.open == 1)


@pytest.mark.parametrize(("data", "why"), HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_answer_comes_to_the_same_wherever_it_is_cut(data: bytes, why: str):
    if len(data) < 1000:
        for place in range(1, len(data)):
            assert await outcome(cut(data, place)) == (f"payments: {why}", False)
    else:
        assert await outcome(cut(data, *range(1000, len(data), 1000))) == (f"payments: {why}", False)


@pytest.mark.parametrize("padding", [0, 70_000])
@pytest.mark.parametrize("chunks", [False, True], ids=["with a length", "in chunks"])
async def test_an_error_is_read_so_far_and_no_further(padding: int, chunks: bool):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "error": {"code": -1, "message": "x" * padding}}).encode()
    lines = (JSON, "Transfer-Encoding: chunked") if chunks else (JSON, f"Content-Length: {len(body)}")
    data = head(*lines, status="500 No") + (chunk(body) + LAST_CHUNK if chunks else body)
    reply, reused = await outcome([data])
    assert isinstance(reply, Reply)
    assert (reply.status, reply.answer is None) == (500, padding > 0)
    assert reused


EDITS = st.lists(
    st.tuples(st.sampled_from(["insert", "replace", "delete", "repeat"]), st.integers(0, 500), st.binary(max_size=4)),
    min_size=1,
    max_size=5,
)


def edited(data: bytes, edits: list[tuple[str, int, bytes]]) -> bytes:
    for kind, place, noise in edits:
        at = place % (len(data) + 1)
        size = len(noise) + (kind == "delete")
        head, middle, tail = data[:at], data[at : at + size], data[at + size :]
        data = head + {"insert": noise + middle, "replace": noise, "delete": b"", "repeat": middle * 2}[kind] + tail
    return data


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([*GOOD.values()]), EDITS, st.lists(st.integers(1, 500), max_size=6))
async def test_an_answer_gone_wrong_is_still_an_answer_or_a_failure(data: bytes, edits: list, places: list[int]):
    data = edited(data, edits)
    pieces = cut(data, *sorted({place for place in places if place < len(data)}))
    result, _ = await outcome(pieces, hang_up=True)
    assert isinstance(result, Reply) or result.startswith("payments: ")


POISON = counted(answer(2, "poison"))


@pytest.mark.parametrize("after", [POISON, b"x", b"\r\n"], ids=["an answer", "a byte", "an empty line"])
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "a moment later"])
async def test_bytes_after_an_answer_are_nobodys_answer(after: bytes, at_once: bool):
    """Response splitting: a second answer must not meet the next request."""
    for data in (GOOD["JSON"], GOOD["JSON in chunks"], GOOD["a stream"]):
        result, reused = await outcome([data + after] if at_once else [data, after])
        assert isinstance(result, Reply)
        assert text_of(result) == "done"
        assert not reused


async def test_bytes_that_nobody_asked_for_end_a_connection():
    async def answers(asked: Asked) -> None:
        await asked.send(counted(answer(asked.message)))

    async with scripted(answers) as server, to(server) as asking:
        await ask(asking, 1, b"1")
        server.asked[0].writer.write(POISON)
        await until(lambda: server.open == 0)
        assert text_of(await ask(asking, 2, b"2")) == "done"
        assert [asked.connection for asked in server.asked] == [1, 2]


async def test_an_answer_to_a_request_that_was_not_read_is_taken_and_its_connection_closed():
    """What is left of that request would be the beginning of the next one."""
    wires = Wires()
    asking = endpoint(Connections(wires))
    task = asyncio.create_task(ask(asking))
    await turns()
    wires.made[0].unsent = 1000
    await wires.made[0].receive([counted(DONE)])
    assert text_of(await task) == "done"
    assert wires.made[0].aborted


# --- what is sent once ----------------------------------------------------------------------------------------------


async def test_requests_after_each_other_go_over_one_connection_and_requests_at_once_over_one_each():
    async def answers(asked: Asked) -> None:
        await asked.send(counted(answer(asked.message)))

    async with scripted(answers) as server, to(server) as asking:
        for id_ in range(1, 6):
            await ask(asking, id_, b"%d" % id_)
        assert server.connections == 1
        await asyncio.gather(*(ask(asking, id_, b"%d" % id_) for id_ in range(6, 16)))
        assert server.connections == 10
        await asyncio.gather(*(ask(asking, id_, b"%d" % id_) for id_ in range(16, 26)))
        assert server.connections == 10


@pytest.mark.parametrize("closing", ["Connection: close", "connection: Foo, Close"])
async def test_a_connection_that_the_server_will_close_is_not_used_again(closing: str):
    async def answers(asked: Asked) -> None:
        await asked.send(counted(answer(asked.message), closing))

    async with scripted(answers) as server, to(server) as asking:
        for id_ in (1, 2):
            await ask(asking, id_, b"%d" % id_)
        assert server.connections == 2
        await until(lambda: server.open == 0)


async def test_a_request_that_meets_a_closing_connection_is_not_sent_again():
    async def answers_once(asked: Asked) -> None:
        if asked.message == 1:
            await asked.send(counted(answer(1)))
        else:
            asked.writer.close()

    async with scripted(answers_once) as server, to(server) as asking:
        await ask(asking, 1, b"1")
        with pytest.raises(UpstreamFailed, match="broke off"):
            await ask(asking, 2, b"2")
        assert [asked.body for asked in server.asked] == [b"1", b"2"]


async def test_a_connection_that_is_known_to_have_ended_is_passed_over():
    async def answers(asked: Asked) -> None:
        await asked.send(counted(answer(asked.message)))
        if asked.message == 1:
            asked.writer.close()

    async with scripted(answers) as server, to(server) as asking:
        await ask(asking, 1, b"1")
        await until(lambda: server.open == 0)
        await turns()
        await ask(asking, 2, b"2")
        assert [asked.connection for asked in server.asked] == [1, 2]


async def test_an_idle_connection_is_closed_before_the_server_would_and_never_used_after_that():
    async def answers(asked: Asked) -> None:
        await asked.send(counted(answer(asked.message)))

    async with scripted(answers) as server, to(server, idle_seconds=0.05) as asking:
        await asyncio.gather(*(ask(asking, id_, b"%d" % id_) for id_ in (1, 2)))
        assert server.open == 2
        await until(lambda: server.open == 0)
        await ask(asking, 3, b"3")
        assert server.connections == 3
    async with scripted(answers) as server, to(server, idle_seconds=0) as asking:
        for id_ in (1, 2):
            await ask(asking, id_, b"%d" % id_)
        assert server.connections == 2


async def test_who_stops_waiting_closes_the_connection():
    gone = asyncio.Event()

    async def waits(asked: Asked) -> None:
        await asked.gone()
        gone.set()

    async with scripted(waits) as server, to(server) as asking:
        task = asyncio.create_task(ask(asking))
        await until(lambda: server.asked)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await asyncio.wait_for(gone.wait(), 10)


async def test_closing_fails_what_is_under_way():
    async def waits(asked: Asked) -> None:
        await asked.gone()

    async with scripted(waits) as server:
        async with to(server) as asking:
            task = asyncio.create_task(ask(asking))
            await until(lambda: server.asked)
        with pytest.raises(UpstreamFailed, match="broke off"):
            await task
        await until(lambda: server.open == 0)
        with pytest.raises(UpstreamFailed, match="broke off"):
            await ask(asking)


# --- the rest of a stream whose answer has come ---------------------------------------------------------------------


async def answered_stream(asking: Endpoint, wires: Wires) -> Wire:
    """Have a call answered on a stream that does not end, and return its connection."""
    task = asyncio.create_task(ask(asking))
    await turns()
    await wires.made[-1].receive([STREAM_HEAD + chunk(event(DONE))])
    assert text_of(await task) == "done"
    return wires.made[-1]


async def test_a_stream_that_goes_on_after_its_answer_is_read_so_far_and_no_further():
    wires = Wires()
    wire = await answered_stream(endpoint(Connections(wires)), wires)
    for _ in range(10):
        await wire.receive([chunk(b"x" * 10_000)])
    assert wire.aborted


async def test_a_stream_that_ends_soon_after_its_answer_gives_its_connection_back():
    wires = Wires()
    asking = endpoint(Connections(wires))
    wire = await answered_stream(asking, wires)
    await wire.receive([chunk(event(progress(1))), LAST_CHUNK[:2], LAST_CHUNK[2:]])
    task = asyncio.create_task(ask(asking))
    await turns()
    await wire.receive([counted(DONE)])
    assert text_of(await task) == "done"
    assert wires.made == [wire]


async def test_streams_that_never_end_hold_only_so_many_connections():
    wires = Wires()
    asking = endpoint(Connections(wires))
    for _ in range(MAX_RESTING + 10):
        await answered_stream(asking, wires)
    assert sum(not wire.aborted for wire in wires.made) == MAX_RESTING
    await wires.made[0].hang_up()
    assert not (await answered_stream(asking, wires)).aborted


# --- what is sent ---------------------------------------------------------------------------------------------------


async def test_a_request_says_what_it_must_and_nothing_twice():
    wires = Wires()
    headers = {"X-Tenant": "all", "authorization": "Bearer a", "Connection": "close", "Mcp-Session-Id": "x"}
    headers["user-agent"] = "ours"
    asking = endpoint(Connections(wires), "https://server.test:8443/a%20b/mcp?q=1", headers=headers)
    task = asyncio.create_task(asking.ask(1, b'{"a":1}', {"Authorization": "Bearer b"}))
    await turns()
    start, _, body = bytes(wires.made[0].written).partition(b"\r\n\r\n")
    assert start.split(b"\r\n") == [
        b"POST /a%20b/mcp?q=1 HTTP/1.1",
        b"Host: server.test:8443",
        b"user-agent: ours",
        b"Accept-Encoding: identity",
        b"X-Tenant: all",
        b"Authorization: Bearer b",
        b"Accept: application/json, text/event-stream",
        b"Content-Type: application/json",
        b"Content-Length: 7",
    ]
    assert body == b'{"a":1}'
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://server.test/", b"server.test"),
        ("http://server.test:80", b"server.test"),
        ("https://server.test:443/mcp", b"server.test"),
        ("http://server.test:443/mcp", b"server.test:443"),
        ("http://[::1]:8080/mcp", b"[::1]:8080"),
        ("http://B\u00fccher.test/mcp", b"xn--bcher-kva.test"),
    ],
)
async def test_the_host_is_the_servers(url: str, host: bytes):
    wires = Wires()
    task = asyncio.create_task(endpoint(Connections(wires), url).ask(1, b"{}", {}))
    await turns()
    assert b"\r\nHost: " + host + b"\r\n" in wires.made[0].written
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize("value", ["a\r\nX-Admin: yes", "a\n", "\x00"])
async def test_a_header_that_would_be_two_is_not_sent(value: str):
    wires = Wires()
    with pytest.raises(UpstreamFailed, match="header that HTTP cannot carry"):
        await endpoint(Connections(wires)).ask(1, b"{}", {"Mcp-Session-Id": value})
    assert not wires.made


@pytest.mark.parametrize("session", ["session-1", "\u00e9", "\udcff"])
async def test_a_session_is_named_as_the_server_named_it(session: str):
    wires = Wires()
    asking = endpoint(Connections(wires))
    task = asyncio.create_task(ask(asking))
    await turns()
    named = session.encode("utf-8", "surrogateescape")
    data = counted(DONE).replace(b"\r\n", b"\r\nmcp-session-id:  " + named + b" \r\n", 1)
    await wires.made[0].receive([data])
    reply = await task
    assert reply.session == session
    task = asyncio.create_task(asking.ask(1, b"{}", {"Mcp-Session-Id": session}))
    await turns()
    assert wires.made[0].written.count(b"Mcp-Session-Id: " + named + b"\r\n") == 1
    task.cancel()
    await asyncio.wait([task])


async def test_a_notification_and_a_goodbye_keep_their_connection():
    async def accepts(asked: Asked) -> None:
        await asked.send(head("Content-Length: 0", status="202 Accepted"))

    async with scripted(accepts) as server, to(server) as asking:
        await asking.tell(b'{"method":"n"}', {})
        await asking.leave({"Mcp-Session-Id": "x"})
        await asking.tell(b'{"method":"n"}', {})
        assert [(asked.verb, asked.connection) for asked in server.asked] == [("POST", 1), ("DELETE", 1), ("POST", 1)]
        assert "content-length" not in server.asked[1].headers
        assert server.asked[1].headers["mcp-session-id"] == "x"


# --- on the loop that the gateway runs on ---------------------------------------------------------------------------


async def test_it_is_the_same_on_the_loop_that_the_gateway_runs_on():
    async def everything() -> None:
        await test_requests_after_each_other_go_over_one_connection_and_requests_at_once_over_one_each()
        await test_bytes_that_nobody_asked_for_end_a_connection()
        await test_a_request_that_meets_a_closing_connection_is_not_sent_again()
        await test_a_connection_that_is_known_to_have_ended_is_passed_over()
        await test_an_idle_connection_is_closed_before_the_server_would_and_never_used_after_that()
        await test_who_stops_waiting_closes_the_connection()
        await test_closing_fails_what_is_under_way()
        for data, why in HOSTILE.values():
            await test_a_hostile_answer_is_a_failure_at_once_and_its_connection_is_never_used_again(data, why)

    await asyncio.to_thread(uvloop.run, everything())
