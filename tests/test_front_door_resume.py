"""Streams that a server closes in the middle, and that are taken up again: by the agent that holds an event's id, or by
the gateway in its stead (2025-11-25, basic/transports)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateway import MODERN
from tests.support.talking import LEGACY, Talking, talking
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.issuer import Issuer
    from tests.support.talker import Session, Stream, Talk

GO = asyncio.Event()
TALKS: list[Talk] = []


async def polled(talk: Talk) -> dict[str, Any]:
    """Say something, hang up, say more, and answer."""
    TALKS.append(talk)
    await talk.progress(0)
    await talk.hang_up()
    await talk.progress(1)
    await talk.back()
    await talk.progress(2)
    return {"content": [{"type": "text", "text": "at last"}]}


async def waits(talk: Talk) -> dict[str, Any]:
    """Say something and wait."""
    TALKS.append(talk)
    await talk.progress(0)
    await GO.wait()
    await talk.progress(1)
    return {"content": [{"type": "text", "text": "at last"}]}


async def quiet(talk: Talk) -> dict[str, Any]:
    return {"structuredContent": {"session": talk.session.id if talk.session else None}}


async def asks_and_hangs_up(talk: Talk) -> dict[str, Any]:
    """Ask, hang up while a person thinks, and answer with what was answered (SEP-1699)."""
    TALKS.append(talk)
    answer = asyncio.ensure_future(talk.ask("elicitation/create", message="Who?", requestedSchema={}))
    await GO.wait()
    await talk.hang_up()
    result = (await answer)["result"]
    return {"structuredContent": result}


TOOLS = {"polled": polled, "waits": waits, "quiet": quiet, "asks": asks_and_hangs_up}


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> AsyncIterator[Talking]:
    async with talking(tmp_path_factory.mktemp("resume"), issuer, TOOLS, resumable=True) as running:
        yield running


@pytest.fixture(autouse=True)
def afresh() -> None:
    GO.clear()
    TALKS.clear()


TOKEN = {"progressToken": "t"}


@pytest.mark.parametrize("server", ["both", "legacy"])
async def test_an_agent_comes_back_for_the_rest_of_a_stream_that_its_server_closed(world: Talking, server: str) -> None:
    async with world.agent(LEGACY) as agent:
        await agent.open()
        async with agent.call(f"polled_{server}", id_="q", _meta=TOKEN) as answer:
            first = await answer.event()
            assert first is not None
            assert (first.data, first.retry) == (b"", 10)
            assert first.id
            assert (await answer.next())["params"] == {"progressToken": "t", "progress": 0}
            assert await answer.next() is None
            request_id = answer.response.headers["X-Request-Id"]
            last = answer.events[-1].id
        # The id says nothing of the server's own, and is never the same twice.
        assert b"stream" not in (last or b"")
        assert len({event.id for event in answer.events}) == len(answer.events)
        async with agent.listen(last) as rest:
            assert rest.is_stream
            messages = await rest.rest()
            resumed_id = rest.response.headers["X-Request-Id"]
    assert [one["params"]["progress"] for one in messages[:-1]] == [1, 2]
    assert {one["params"]["progressToken"] for one in messages[:-1]} == {"t"}
    assert (messages[-1]["id"], messages[-1]["result"]["content"][0]["text"]) == ("q", "at last")
    assert len(world.servers[server].calls) - len(world.servers[server].cancelled) > 0
    (parted,) = await world.gateway.events(source__request_id=request_id)
    (resumed,) = await world.gateway.events(source__request_id=resumed_id)
    assert (parted["type"], parted["outcome"], parted["target"]["answered"]) == ("ToolCalled", "success", False)
    assert (resumed["type"], resumed["outcome"], resumed["target"]["resumed"]) == ("ToolCalled", "success", True)
    assert parted["target"]["id"] == resumed["target"]["id"] == f"{server}/polled_{server}"


@pytest.mark.parametrize("how", ["modern", "without a session", "an older revision", "by JSON alone"])
async def test_the_gateway_comes_back_itself_for_who_cannot(world: Talking, how: str) -> None:
    version = {"modern": MODERN, "an older revision": "2025-06-18"}.get(how, LEGACY)
    accept = "application/json" if how == "by JSON alone" else "application/json, text/event-stream"
    async with world.agent(version, accept=accept) as agent:
        if how in ("by JSON alone", "an older revision"):
            await agent.open()
        async with agent.call("polled_legacy", _meta=TOKEN) as answer:
            messages = await answer.rest() if answer.is_stream else [await answer.json()]
            if how == "an older revision":
                # It knows ids, and no events without data; so it gets what it can come back with.
                assert messages[0]["params"]["progress"] == 0
                assert all(event.data for event in answer.events)
                async with agent.listen(answer.events[-1].id) as rest:
                    messages += await rest.rest()
    assert messages[-1]["result"]["content"][0]["text"] == "at last"
    if how != "by JSON alone":
        assert [one["params"]["progress"] for one in messages[:-1]] == [0, 1, 2]
    assert len(TALKS) == 1


async def test_an_agent_that_lost_its_connection_comes_back_for_what_it_missed(world: Talking) -> None:
    async with world.agent(LEGACY) as agent:
        await agent.open()
        async with agent.call("waits_legacy", id_=7, _meta=TOKEN) as answer:
            await answer.next()
            last = answer.events[-1].id
        stream = the_stream()
        await until(lambda: stream.response is None, what="the gateway has let go of the server's stream")
        GO.set()
        async with agent.listen(last) as rest:
            messages = await rest.rest()
    assert [one["params"]["progress"] for one in messages[:-1]] == [1]
    assert (messages[-1]["id"], messages[-1]["result"]["content"][0]["text"]) == (7, "at last")
    assert not world.servers["legacy"].cancelled


def the_stream() -> Stream:
    stream = TALKS[-1].stream
    assert stream is not None
    return stream


async def test_a_stream_is_taken_up_again_after_a_restart_of_the_gateway(
    tmp_path_factory: pytest.TempPathFactory, issuer: Issuer
) -> None:
    folder = tmp_path_factory.mktemp("restarted")
    async with talking(folder, issuer, TOOLS, resumable=True) as world, world.agent(LEGACY) as agent:
        await agent.open()
        async with agent.call("polled_legacy", id_=7, _meta=TOKEN) as answer:
            await answer.rest()
        await world.gateway.kill()
        await world.gateway.start()
        agent.url = world.gateway.url
        async with agent.listen(answer.events[-1].id) as rest:
            messages = await rest.rest()
        assert [one["params"]["progress"] for one in messages[:-1]] == [1, 2]
        assert messages[-1]["id"] == 7


GOOD = {"action": "accept", "content": {"n": "jo"}}


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_question_is_answered_after_the_stream_that_it_was_asked_on_was_closed(
    tmp_path_factory: pytest.TempPathFactory, issuer: Issuer, restarted: bool
) -> None:
    folder = tmp_path_factory.mktemp("asked")
    async with (
        talking(folder, issuer, TOOLS, resumable=True) as world,
        world.agent(LEGACY) as agent,
        world.agent(LEGACY) as again,
    ):
        await agent.open()
        await again.open()
        async with agent.call("asks_legacy", id_=7) as answer:
            question = await answer.next()
            GO.set()
            assert await answer.next() is None
        if restarted:
            await world.gateway.kill()
            await world.gateway.start()
            agent.url = again.url = world.gateway.url
        # It is nobody else's to answer, and is answered once.
        assert await again.reply(question["id"], result={"action": "cancel"}) == 202
        assert await agent.reply(question["id"], result=GOOD) == 202
        async with agent.listen(answer.events[-1].id) as rest:
            (last,) = await rest.rest()
    assert (last["id"], last["result"]["structuredContent"]) == (7, GOOD)
    answers = [one.message for one in world.servers["legacy"].received if one.message and "result" in one.message]
    assert [one["result"] for one in answers] == [GOOD]


async def test_nobody_takes_up_the_stream_of_another_nor_one_of_what_is_withdrawn(world: Talking) -> None:
    admin = await world.gateway.key()
    async with world.agent(LEGACY) as agent, world.agent(LEGACY, sub="al") as al, world.agent(LEGACY) as again:
        for one in (agent, al, again):
            await one.open()
        async with agent.call("polled_legacy", _meta=TOKEN) as answer:
            await answer.rest()
        last = answer.events[-1].id
        assert last is not None
        for other in (al, again):
            async with other.listen(last) as rest:
                assert rest.status == 400
        for odd in (last[:-2], last + b"A", b"stream1-1"):
            async with agent.listen(odd) as rest:
                assert rest.status == 400
        await world.gateway.admin("legacy/polled_legacy/withdraw", {"tenant_id": "tenant:a"}, key=admin)
        try:
            async with agent.listen(last) as rest:
                (only,) = await rest.rest()
            assert only["error"]["message"] == "Unknown tool: polled_legacy"
        finally:
            await world.gateway.admin("legacy/polled_legacy/restore", {"tenant_id": "tenant:a"}, key=admin)
        async with agent.listen(last) as rest:
            assert (await rest.rest())[-1]["result"]


async def test_a_session_that_is_gone_at_its_server_ends_what_is_taken_up_with_a_clean_error(world: Talking) -> None:
    async with world.agent(LEGACY) as agent:
        await agent.open()
        async with agent.call("polled_legacy", _meta=TOKEN) as answer:
            await answer.rest()
        calls = len(world.servers["legacy"].calls)
        world.servers["legacy"].sessions.clear()
        async with agent.listen(answer.events[-1].id) as rest:
            (only,) = await rest.rest()
        assert only["error"]["message"] == "Server legacy: broke off before it answered"
        # It is never called a second time for that.
        assert len(world.servers["legacy"].calls) == calls


async def test_a_sessions_own_stream_is_taken_up_where_it_was_left(world: Talking) -> None:
    server = world.servers["legacy"]

    def log(data: str) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": data}}

    async with world.agent(LEGACY) as agent:
        await agent.open()
        id_ = (await agent.result("quiet_legacy"))["result"]["structuredContent"]["session"]
        session: Session = server.sessions[id_]
        async with agent.listen() as stream:
            await until(session.stream.attached.is_set)
            await session.stream.write(log("first"))
            assert (await stream.next())["params"]["data"] == "first"
            last = stream.events[-1].id
        await until(lambda: not session.stream.attached.is_set())
        await session.stream.write(log("missed"))
        async with agent.listen(last) as stream:
            assert (await stream.next())["params"]["data"] == "missed"
            await session.stream.write(log("now"))
            assert (await stream.next())["params"]["data"] == "now"
            # The gateway itself comes back, where the server closes that stream.
            await session.stream.detach()
            await session.stream.write(log("between"))
            assert (await stream.next())["params"]["data"] == "between"
