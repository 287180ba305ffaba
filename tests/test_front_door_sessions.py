"""Sessions of older agents: nobody's but their own, on no replica's disk, and gone when they are ended (A23)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateway import MODERN, Portcullis
from tests.support.talking import LEGACY, Talking, talking
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.issuer import Issuer
    from tests.support.streaming import StreamingAgent
    from tests.support.talker import Talk

GO = asyncio.Event()


async def who(talk: Talk) -> dict[str, Any]:
    session = talk.session
    found = {"session": session.id if session else None, "version": session.version if session else None}
    return {"structuredContent": found | {"can": talk.capabilities}}


async def waits(talk: Talk) -> dict[str, Any]:
    await talk.progress(0)
    await GO.wait()
    return {}


TOOLS = {"who": who, "waits": waits}


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> AsyncIterator[Talking]:
    async with talking(tmp_path_factory.mktemp("sessions"), issuer, TOOLS) as running:
        yield running


async def statuses(agent: StreamingAgent) -> list[int]:
    """Return how the agent is answered by each verb; DELETE last."""
    found = []
    async with agent.ask("tools/list") as answer:
        found.append(answer.status)
    found.append(await agent.tell("notifications/initialized"))
    found.append(await agent.reply("x", result={}))
    async with agent.listen() as answer:
        found.append(answer.status)
    return [*found, await agent.delete()]


async def test_a23_a_session_is_nobody_elses_on_any_verb(world: Talking) -> None:
    key = await world.gateway.key("user:jo", "--tenant", "tenant:a", role="developer")
    async with world.agent(LEGACY) as owner:
        session = await owner.open()
        others = {
            "another subject": world.agent(LEGACY, sub="al"),
            "another tenant": world.agent(LEGACY, "tenant:b"),
            "the same name by a key": world.agent(LEGACY),
            "another endpoint": world.agent(LEGACY, path="/tenant/tenant:a/servers/both/mcp"),
        }
        others["the same name by a key"].credential = {"X-API-Key": key}
        for what, other in others.items():
            async with other:
                other.session = session
                assert (what, await statuses(other)) == (what, [404] * 5)
        for invented in ("invented", session[:-1], session + "A", session.swapcase(), "", "a" * 4000):
            async with world.agent(LEGACY) as agent:
                agent.session = invented or None
                async with agent.ask("tools/list") as answer:
                    assert answer.status == (404 if invented else 200)
        # It is still its owner's.
        async with owner.ask("tools/list") as answer:
            assert answer.status == 200
        body = {"jsonrpc": "2.0", "id": 9, "method": "tools/list"}
        reply = await world.gateway.http("POST", "/mcp", body, Mcp_Session_Id="invented", **bearer(owner))
        error = {"code": -32600, "message": "No such session"}
        assert (reply.status, reply.json) == (404, {"jsonrpc": "2.0", "id": 9, "error": error})
    assert await world.gateway.events(type="RequestRefused", target__detail="no such session")


def bearer(agent: StreamingAgent) -> dict[str, str]:
    return dict(agent.credential)


async def test_a23_a_session_outlives_the_token_that_it_was_opened_with_and_not_the_key(world: Talking) -> None:
    async with world.agent(LEGACY) as agent:
        session = await agent.open()
        agent.credential = {"Authorization": f"Bearer {world.issuer.mint(tenant_id='tenant:a', sub='jo', jti='next')}"}
        async with agent.ask("tools/list") as answer:
            assert answer.status == 200
    first, second = [
        await world.gateway.key("service:agent", "--tenant", "tenant:a", role="developer") for _ in range(2)
    ]
    async with world.agent(LEGACY) as agent:
        agent.credential = {"X-API-Key": first}
        session = await agent.open()
        agent.credential = {"X-API-Key": second}
        assert agent.session == session
        async with agent.ask("tools/list") as answer:
            assert answer.status == 404


async def test_an_ended_session_is_gone_with_everything_that_went_on_in_it(world: Talking) -> None:
    server = world.servers["legacy"]
    async with world.agent(LEGACY) as agent:
        await agent.open()
        upstream = (await agent.result("who_legacy"))["result"]["structuredContent"]["session"]
        async with (
            agent.listen() as stream,
            agent.call("waits_legacy", _meta={"progressToken": 1}) as answer,
        ):
            await answer.next()
            assert await agent.delete() == 200
            assert (await answer.next())["error"]["code"] == 49900
            assert await stream.next() is None
        await until(lambda: upstream in server.ended)
        assert await statuses(agent) == [404] * 5
    opened = (await world.gateway.events(type="SessionOpened"))[-1]
    ended = (await world.gateway.events(type="SessionEnded"))[-1]
    assert opened["target"] == ended["target"]
    assert ended["actor"]["principal"] == "user:jo"
    assert agent.session not in str(opened)


async def test_an_agent_begins_anew_where_its_session_is_gone(world: Talking) -> None:
    async with world.agent(LEGACY) as agent:
        first = await agent.open()
        await agent.delete()
        assert await agent.open() != first
        assert "result" in await agent.result("who_both")


async def test_a_server_of_both_eras_is_spoken_to_as_its_agent_speaks(world: Talking) -> None:
    server = world.servers["both"]
    async with world.agent(LEGACY) as older, world.agent(MODERN) as modern, world.agent("2025-06-18") as oldest:
        await older.open()
        await oldest.open()
        first = (await older.result("who_both"))["result"]["structuredContent"]
        second = (await oldest.result("who_both"))["result"]["structuredContent"]
        third = (await modern.result("who_both"))["result"]["structuredContent"]
        for one in (first, second):
            assert one["session"] in server.sessions
            assert one["can"] == older.capabilities
        assert (first["version"], second["version"]) == (LEGACY, "2025-06-18")
        assert first["session"] != second["session"]
        assert third == {"session": None, "version": None, "can": modern.capabilities}
        async with world.agent(LEGACY) as without:
            fourth = (await without.result("who_both"))["result"]["structuredContent"]
        # Nothing in what it does needs a session, so none is opened for it.
        assert fourth == {"session": None, "version": None, "can": {}}
    assert len(server.of("server/discover")) == 1


async def test_a_server_of_one_era_is_asked_once_whether_it_knows_the_other(world: Talking) -> None:
    server = world.servers["modern"]
    async with world.agent(LEGACY) as agent:
        await agent.open()
        before = len(server.of("initialize"))
        for _ in range(3):
            found = (await agent.result("who_modern"))["result"]["structuredContent"]
            assert found == {"session": None, "version": None, "can": agent.capabilities}
    assert len(server.of("initialize")) - before <= 1


@pytest.mark.parametrize("server", ["both", "legacy"])
async def test_two_sessions_of_one_principal_share_no_session_at_a_server(world: Talking, server: str) -> None:
    async with world.agent(LEGACY) as one, world.agent(LEGACY) as two, world.agent(LEGACY) as without:
        await one.open()
        await two.open()
        agents = (one, one, two, two, without)
        found = [(await agent.result(f"who_{server}"))["result"]["structuredContent"]["session"] for agent in agents]
    assert found[0] == found[1] != found[2] == found[3]
    assert found[4] not in found[:4]


async def test_what_an_agent_declares_is_cut_down_to_what_is_passed_on(world: Talking) -> None:
    declared = {
        "sampling": {"tools": {}, "context": {"deep": [1]}, "other": 1},
        "elicitation": {"url": {}},
        "roots": {"listChanged": True},
        "experimental": {"x": {}},
        "extensions": {"io.modelcontextprotocol/tasks": {}},
        "tasks": {},
    }
    kept = {"sampling": {"tools": {}, "context": {}}, "elicitation": {"url": {}}, "roots": {"listChanged": True}}
    async with world.agent(LEGACY, can=declared) as agent:
        await agent.open()
        assert (await agent.result("who_legacy"))["result"]["structuredContent"]["can"] == kept
    async with world.agent(MODERN, can=declared) as agent:
        known = {name: declared[name] for name in ("sampling", "elicitation", "roots")}
        assert (await agent.result("who_modern"))["result"]["structuredContent"]["can"] == known
        # It is in no session, so it could not be asked midway.
        assert (await agent.result("who_legacy"))["result"]["structuredContent"]["can"] == {}
    for odd in ([], "x", {"sampling": True, "roots": []}, {"elicitation": {"form": {"a": "x" * 5000}}}):
        async with world.agent(LEGACY, can=odd) as agent:
            await agent.open()
            assert len(agent.session or "") < 600
            assert "result" in await agent.result("who_legacy")


async def test_a_change_of_roots_is_told_to_the_servers_of_the_session(world: Talking) -> None:
    server = world.servers["legacy"]
    async with world.agent(LEGACY) as agent:
        await agent.open()
        session = server.sessions[(await agent.result("who_legacy"))["result"]["structuredContent"]["session"]]
        assert await agent.tell("notifications/roots/list_changed") == 202
        await until(lambda: "notifications/roots/list_changed" in [one["method"] for one in session.told])


async def test_a_session_is_read_after_a_restart_by_whoever_has_the_secret(
    tmp_path_factory: pytest.TempPathFactory, issuer: Issuer
) -> None:
    async with talking(tmp_path_factory.mktemp("restart"), issuer, TOOLS) as first:
        async with first.agent(LEGACY) as agent:
            session = await agent.open()
            await first.gateway.stop()
            await first.gateway.start()
            agent.url = first.gateway.url
            assert "result" in await agent.result("who_legacy")
        async with Portcullis(tmp_path_factory.mktemp("stranger"), first.gateway.config) as stranger:
            headers = {"Authorization": f"Bearer {issuer.mint(tenant_id='tenant:a', sub='jo')}"}
            reply = await stranger.rpc("tools/list", Mcp_Session_Id=session, **headers)
            assert reply.status == 404


async def test_a_modern_request_is_in_no_session_whatever_it_says(world: Talking) -> None:
    async with world.agent(MODERN) as agent:
        agent.session = "invented"
        async with agent.ask("tools/list") as answer:
            assert answer.status == 200
        async with agent.listen() as stream:
            assert (stream.status, stream.response.headers["Allow"]) == (405, "POST")


async def test_a_stream_is_got_only_by_who_takes_one(world: Talking) -> None:
    async with world.agent(LEGACY) as agent:
        await agent.open()
        async with agent.listen(Accept="application/json") as answer:
            assert answer.status == 406
        async with agent.listen(**{"MCP-Protocol-Version": "1999-01-01"}) as answer:
            assert answer.status == 400
        async with agent.listen(last=b"invented") as answer:
            assert answer.status == 400


async def test_the_newest_stream_of_a_session_is_the_one(world: Talking) -> None:
    async with world.agent(LEGACY) as agent:
        await agent.open()
        async with agent.listen() as first, agent.listen() as second:
            assert (first.status, second.status) == (200, 200)
            assert await first.next() is None
            await agent.delete()
            assert await second.next() is None


async def test_a40_more_streams_than_a_credential_may_have_are_429_and_a_place_comes_free(world: Talking) -> None:
    async with world.agent(LEGACY, sub="many") as agent, world.agent(LEGACY, sub="other") as other:
        sessions = [await agent.open() for _ in range(257)]
        streams = []
        for number, session in enumerate(sessions):
            agent.session = session
            context = agent.listen()
            stream = await context.__aenter__()
            assert stream.status == (200 if number < 256 else 429), number
            streams.append((context, stream))
        assert streams[-1][1].response.headers["Retry-After"] == "5"
        # A call goes on without a stream, and nobody else is kept from having one.
        GO.set()
        async with agent.call("waits_both", _meta={"progressToken": 1}) as answer:
            assert answer.response.content_type == "application/json"
            assert "result" in await answer.json()
        GO.clear()
        async with (
            world.agent(MODERN, sub="many") as modern,
            modern.ask("subscriptions/listen", {"notifications": {}}) as refused,
        ):
            assert (refused.status, refused.response.headers["Retry-After"]) == (429, "5")
        await other.open()
        async with other.listen() as stream:
            assert stream.status == 200
        await streams[0][0].__aexit__(None, None, None)

        async def admitted() -> bool:
            async with agent.listen() as stream:
                return stream.status == 200

        await until(admitted)
        for context, _ in streams[1:]:
            await context.__aexit__(None, None, None)
