"""One pipe for many requests: what comes before an answer finds the request that it is about, or nobody."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.errors import UpstreamFailed
from gateway.upstream.failures import MAX_ANSWER_BYTES
from gateway.upstream.inbox import MAX_UNREAD_BYTES
from tests.support.local import about, caller, local, sent
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.upstream.pool import Upstreams
    from gateway.upstream.stdio import Pipe

# Far from those that the gateway gives itself.
IDS = 1_000_000


@asynccontextmanager
async def piped(*arguments: object, **members: Any) -> AsyncIterator[tuple[Upstreams, Pipe]]:
    """Run a server and yield the pipe to its process."""
    async with local(*arguments, **members) as upstreams:
        await about(upstreams)
        with upstreams._generations.newest["local"]._taken(caller()) as seat:  # type: ignore[union-attr]
            assert seat.running is not None
            yield upstreams, seat.running.pipe


def request(id_: int, tool: str, token: object = None, **arguments: Any) -> bytes:
    meta = {} if token is None else {"_meta": {"progressToken": token}}
    params = {"name": tool, "arguments": arguments, **meta}
    return json.dumps({"jsonrpc": "2.0", "id": id_, "method": "tools/call", "params": params}).encode()


def progress(message: Any) -> tuple[Any, Any]:
    params = json.loads(message.body)["params"]
    return params["progressToken"], params["progress"]


async def test_progress_finds_the_request_whose_token_it_bears_however_calls_are_interleaved():
    async with piped() as (_, pipe):

        async def one(number: int) -> None:
            id_, token = IDS + number, number if number % 2 else f"t{number}"
            async with pipe.stream(id_, request(id_, "progress", token, steps=20), {}) as stream:
                heard = [progress(message) async for message in stream]
            assert heard == [(token, step) for step in range(20)]
            assert stream.reply.answer.member("content")[0]["text"] == str(token)

        await asyncio.gather(*(one(number) for number in range(20)))


async def test_whoever_does_not_keep_up_loses_notifications_and_neither_the_answer_nor_anybody_elses():
    async with piped() as (_, pipe):
        async with pipe.stream(IDS, request(IDS, "progress", 1, steps=1000, padding=1000), {}) as slow:
            other = await pipe.ask(IDS + 1, request(IDS + 1, "progress", 2, steps=1), {})
            assert other.answer is not None
            await until(lambda: slow.ended)
            heard = [progress(message) async for message in slow]
            assert slow.reply.answer is not None
        assert heard[0] == (1, 0)
        assert 0.9 * MAX_UNREAD_BYTES < len(heard) * 1100 < 1.2 * MAX_UNREAD_BYTES


async def test_chatter_that_never_comes_to_an_answer_fails_its_request_alone():
    async with piped() as (_, pipe):
        asked = request(IDS, "progress", 1, steps=200, padding=100_000)
        with pytest.raises(UpstreamFailed, match="answered more than 16 MiB"):
            async with pipe.stream(IDS, asked, {}, MAX_ANSWER_BYTES) as stream:
                assert [message async for message in stream] == []
        assert (await pipe.ask(IDS + 1, request(IDS + 1, "recall"), {})).answer is not None


async def test_a_log_message_is_nobodys_and_a_change_of_a_list_is_heard_by_who_listens():
    async with piped() as (_, pipe), pipe.listen({}) as heard:
        async with pipe.stream(IDS, request(IDS, "log", 1, text="somebody's secret"), {}) as stream:
            assert [message async for message in stream] == []
        await pipe.ask(IDS + 1, request(IDS + 1, "grow", name="extra"), {})
        assert (await anext(heard)).method == "notifications/tools/list_changed"
        assert pipe.changed


async def test_who_listens_hears_that_the_process_ended():
    async with piped() as (_, pipe), pipe.listen({}) as heard:
        with pytest.raises(UpstreamFailed):
            await pipe.ask(IDS, request(IDS, "leave", status=0), {})
        with pytest.raises(UpstreamFailed, match="ended before it answered"):
            await anext(heard)
    # Nothing is written to it any more.
    with pytest.raises(UpstreamFailed):
        await pipe.ask(IDS, request(IDS, "recall"), {})


async def test_a_question_reaches_the_one_request_under_way_and_is_refused_where_there_are_two(tmp_path: Path):
    async with piped("--era", "legacy", "--trace", tmp_path / "trace") as (_, pipe):
        async with pipe.stream(IDS, request(IDS, "ask", method="roots/list"), {}) as stream:
            question = await anext(stream)
            assert question.method == "roots/list"
            answer = b'{"jsonrpc":"2.0","id":%b,"result":{"roots":[]}}' % question.id
            await pipe.tell(answer, {})
            assert [message async for message in stream] == []
            assert json.loads(stream.reply.answer.member("content")[0]["text"]) == {"roots": []}
        async with pipe.stream(IDS + 1, request(IDS + 1, "hold", key="k"), {}):
            await until(lambda: any(one.get("id") == IDS + 1 for one in sent(tmp_path / "trace")))
            async with pipe.stream(IDS + 2, request(IDS + 2, "ask", method="roots/list"), {}) as stream:
                assert [message async for message in stream] == []
                assert json.loads(stream.reply.answer.member("content")[0]["text"])["code"] == -32601


async def test_a_stream_that_is_left_before_its_answer_takes_its_request_back_once(tmp_path: Path):
    for speaks in ("modern", "legacy"):
        trace = tmp_path / speaks
        async with piped("--era", speaks, "--trace", trace) as (_, pipe):
            async with pipe.stream(IDS, request(IDS, "asleep"), {}):
                pass
            pipe.abandon(IDS, {})
            await pipe.ask(IDS + 1, request(IDS + 1, "recall"), {})
        taken_back = [one["params"] for one in sent(trace) if one["method"] == "notifications/cancelled"]
        assert taken_back == [{"requestId": IDS}]


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_processes_that_come_and_go_leave_no_descriptor_open():
    async with local() as upstreams:
        await about(upstreams)
        before = open_descriptors()
        for number in range(5):
            await about(upstreams, caller(f"tenant:{number}"))
        upstreams.slots.resize(1, 1)
        await about(upstreams, caller("tenant:last"))
        assert len(upstreams.slots) == 1
        assert open_descriptors() <= before
