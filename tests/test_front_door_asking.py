"""What a server asks its client before it answers: passed on to the agent that called, and answered by nobody else."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateway import MODERN
from tests.support.talking import LEGACY, Talking, talking
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.issuer import Issuer
    from tests.support.talker import Session, Talk

OLDER = pytest.mark.parametrize("version", [LEGACY, "2025-06-18"])
SERVERS = pytest.mark.parametrize("server", ["both", "legacy"])
ARRIVED = asyncio.Event()
NUMBERS = count(1)
FORM = {"mode": "form", "message": "Who?", "requestedSchema": {"type": "object", "properties": {"n": {}}}}


async def asks(talk: Talk) -> dict[str, Any]:
    """Ask what the arguments say, one after the other, and answer with the answers."""
    answers = [await talk.ask(one["method"], **one["params"]) for one in talk.params["arguments"]["asks"]]
    kept = [{name: one[name] for name in ("result", "error") if name in one} for one in answers]
    return {"structuredContent": {"answers": kept}}


async def asks_at_once(talk: Talk) -> dict[str, Any]:
    count = talk.params["arguments"]["count"]
    answers = await asyncio.gather(*(talk.ask("elicitation/create", **FORM, number=one) for one in range(count)))
    return {"structuredContent": {"answers": [one["result"]["content"]["n"] for one in answers]}}


async def takes_back(talk: Talk) -> dict[str, Any]:
    asking = asyncio.ensure_future(talk.ask("elicitation/create", **FORM))
    await ARRIVED.wait()
    id_ = next(id_ for id_, one in talk.server.asked.items() if not one.done())
    await talk.notify("notifications/cancelled", requestId=id_, reason="never mind")
    asking.cancel()
    return {}


async def quiet(talk: Talk) -> dict[str, Any]:
    return {"structuredContent": {"session": talk.session.id if talk.session else None}}


TOOLS = {"asks": asks, "at_once": asks_at_once, "takes_back": takes_back, "quiet": quiet}


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> AsyncIterator[Talking]:
    async with talking(tmp_path_factory.mktemp("asking"), issuer, TOOLS) as running:
        yield running


def sample(text: str, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": {"type": "text", "text": text}}]
    return {"method": "sampling/createMessage", "params": {"messages": messages, "maxTokens": 100, **more}}


def elicit(**more: Any) -> dict[str, Any]:
    return {"method": "elicitation/create", "params": FORM | more}


ROOTS = {"method": "roots/list", "params": {}}


@SERVERS
@OLDER
async def test_a_question_reaches_the_agent_that_called_and_its_answer_the_server(
    world: Talking, version: str, server: str
) -> None:
    huge = {"role": "assistant", "content": {"type": "text", "text": "x" * 200_000}, "model": "m", "n": 2**70}
    meta = {"progressToken": 5, "io.modelcontextprotocol/related-task": {"taskId": "x"}, "com.example/kept": 1}
    wanted = [sample("Why?", _meta=meta), elicit(), ROOTS]
    answers: list[dict[str, Any]] = [
        {"result": huge},
        {"result": {"action": "accept", "content": {"n": "jo"}}},
        {"error": {"code": -32603, "message": "no roots today", "data": [1]}},
    ]
    async with world.agent(version) as agent:
        await agent.open()
        async with agent.call(f"asks_{server}", {"asks": wanted}) as answer:
            for one, reply in zip(wanted, answers, strict=True):
                question = await answer.next()
                assert question["method"] == one["method"]
                expected = dict(one["params"])
                if "_meta" in expected:
                    expected["_meta"] = {"com.example/kept": 1}
                assert question.get("params", {}) == expected
                # The id is the gateway's own.
                assert not str(question["id"]).startswith("ask-")
                assert await agent.reply(question["id"], **reply) == 202
            last = await answer.next()
            request_id = answer.response.headers["X-Request-Id"]
    assert last["result"]["structuredContent"]["answers"] == answers
    (event,) = await world.gateway.events(source__request_id=request_id)
    assert (event["outcome"], event["target"]["questions"]) == ("success", 3)
    assert "jo" not in str(event["target"].get("arguments"))


@SERVERS
async def test_many_questions_at_once_find_their_answers_in_any_order(world: Talking, server: str) -> None:
    async with world.agent(LEGACY) as agent:
        await agent.open()
        async with agent.call(f"at_once_{server}", {"count": 20}) as answer:
            questions = [await answer.next() for _ in range(20)]
            assert len({one["id"] for one in questions}) == 20
            for one in reversed(questions):
                content = {"n": one["params"]["number"]}
                await agent.reply(one["id"], result={"action": "accept", "content": content})
            assert (await answer.next())["result"]["structuredContent"]["answers"] == list(range(20))


async def test_nobody_answers_for_another(world: Talking) -> None:
    async with (
        world.agent(LEGACY) as agent,
        world.agent(LEGACY, sub="al") as al,
        world.agent(LEGACY) as again,
        world.agent(LEGACY) as without,
    ):
        for one in (agent, al, again):
            await one.open()
        async with agent.call("asks_both", {"asks": [elicit()]}) as answer:
            question = await answer.next()
            evil = {"result": {"action": "accept", "content": {"n": "evil"}}}
            for other in (al, again, without):
                assert await other.reply(question["id"], **evil) == 202
            for odd in ("ask-1", 1, "x"):
                assert await agent.reply(odd, **evil) == 202
            good = {"result": {"action": "accept", "content": {"n": "jo"}}}
            assert await agent.reply(question["id"], **good) == 202
            assert await agent.reply(question["id"], **evil) == 202
            assert (await answer.next())["result"]["structuredContent"]["answers"] == [good]
    refused = await world.gateway.events(type="RequestRefused", target__detail="an answer to nothing that was asked")
    assert {one["actor"]["principal"] for one in refused} >= {"user:jo", "user:al"}


@SERVERS
@pytest.mark.parametrize(
    ("can", "wanted"),
    [
        ({}, sample("x")),
        ({"elicitation": {}}, sample("x")),
        ({"sampling": {}}, elicit()),
        ({"elicitation": {"url": {}}}, elicit()),
        ({"elicitation": {}}, elicit(mode="url", url="https://x.example")),
        ({"elicitation": {"form": {}}}, elicit(mode="url", url="https://x.example")),
        ({"sampling": {}, "elicitation": {}}, ROOTS),
        ({"sampling": {}, "elicitation": {}, "roots": {}}, {"method": "tasks/get", "params": {}}),
        ({"sampling": {}, "elicitation": {}, "roots": {}}, {"method": "tools/list", "params": {}}),
    ],
)
async def test_what_an_agent_has_not_declared_is_refused_before_it_hears_of_it(
    world: Talking, server: str, can: dict[str, Any], wanted: dict[str, Any]
) -> None:
    async with world.agent(LEGACY, can=can) as agent:
        await agent.open()
        async with agent.call(f"asks_{server}", {"asks": [wanted]}) as answer:
            only = (await answer.rest())[-1] if answer.is_stream else await answer.json()
    (refused,) = only["result"]["structuredContent"]["answers"]
    assert refused["error"]["code"] == -32601


async def test_a_ping_is_answered_by_the_gateway(world: Talking) -> None:
    async with world.agent(LEGACY) as agent:
        await agent.open()
        last = await agent.result("asks_legacy", {"asks": [{"method": "ping", "params": {}}]})
    assert last["result"]["structuredContent"]["answers"] == [{"result": {}}]


@pytest.mark.parametrize("how", ["modern", "without a session", "by JSON alone"])
async def test_who_cannot_be_asked_midway_is_not(world: Talking, how: str) -> None:
    version = MODERN if how == "modern" else LEGACY
    accept = "application/json" if how == "by JSON alone" else "application/json, text/event-stream"
    async with world.agent(version, accept=accept) as agent:
        if how == "by JSON alone":
            await agent.open()
        last = await agent.result("asks_legacy", {"asks": [elicit()]})
    assert last["result"]["structuredContent"]["answers"][0]["error"]["code"] == -32601


@SERVERS
async def test_an_agent_that_hangs_up_leaves_the_server_an_error(world: Talking, server: str) -> None:
    async with world.agent(LEGACY) as agent:
        await agent.open()
        async with agent.call(f"asks_{server}", {"asks": [elicit()]}) as answer:
            await answer.next()
            request_id = answer.response.headers["X-Request-Id"]
    (event,) = await world.gateway.events(source__request_id=request_id)
    assert event["outcome"] == "success"
    received = [one.message for one in world.servers[server].received if one.message and "error" in one.message]
    assert received[-1]["error"] == {"code": -32603, "message": "The agent cannot be asked any more"}


async def test_what_a_server_takes_back_the_agent_is_told(world: Talking) -> None:
    async with world.agent(LEGACY) as agent:
        await agent.open()
        async with agent.call("takes_back_legacy") as answer:
            question = await answer.next()
            ARRIVED.set()
            back, last = await answer.rest()
    assert back == {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": question["id"]}}
    assert "result" in last


async def test_a_servers_time_stands_still_while_a_person_is_asked(
    tmp_path_factory: pytest.TempPathFactory, issuer: Issuer
) -> None:
    async with talking(tmp_path_factory.mktemp("patience"), issuer, TOOLS, {"timeout_seconds": 0.5}) as short:
        async with short.agent(LEGACY) as agent:
            await agent.open()
            async with agent.call("asks_legacy", {"asks": [elicit()]}) as answer:
                question = await answer.next()
                # Longer than a server has.
                assert (await agent.result("quiet_legacy"))["result"]
                await asyncio.sleep(0.8)
                await agent.reply(question["id"], result={"action": "decline"})
                last = await answer.next()
                request_id = answer.response.headers["X-Request-Id"]
        assert last["result"]["structuredContent"]["answers"] == [{"result": {"action": "decline"}}]
        (event,) = await short.gateway.events(source__request_id=request_id)
        assert event["target"]["waited_seconds"] > 0.5 > event["target"]["seconds"]


def session_of(world: Talking, server: str, last: Any) -> Session:
    return world.servers[server].sessions[last["result"]["structuredContent"]["session"]]


@pytest.mark.parametrize("first", ["the stream", "the call"])
async def test_what_a_server_says_beside_calls_arrives_on_the_sessions_own_stream(world: Talking, first: str) -> None:
    server = world.servers["legacy"]
    async with world.agent(LEGACY) as agent:
        await agent.open()
        if first == "the call":
            session = session_of(world, "legacy", await agent.result("quiet_legacy"))
        async with agent.listen() as stream:
            assert stream.status == 200
            if first == "the stream":
                session = session_of(world, "legacy", await agent.result("quiet_legacy"))
            await until(session.stream.attached.is_set, what="the gateway listens")
            log = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}}
            await session.stream.write(log)
            assert await stream.next() == log
            answer = server.asked["beside"] = asyncio.get_running_loop().create_future()
            await session.stream.write({"jsonrpc": "2.0", "id": "beside", **elicit()})
            question = await stream.next()
            assert (question["method"], question["params"]) == ("elicitation/create", FORM)
            await agent.reply(question["id"], result={"action": "cancel"})
            assert (await answer)["result"] == {"action": "cancel"}
        await until(lambda: not server.listening, what="nobody listens any more")


async def test_a_server_that_is_not_visible_any_more_is_not_heard(world: Talking) -> None:
    admin = await world.gateway.key()
    async with world.agent(LEGACY) as agent:
        await agent.open()
        async with agent.listen() as stream:
            found = {name: session_of(world, name, await agent.result(f"quiet_{name}")) for name in ("both", "legacy")}
            for one in found.values():
                await until(lambda one=one: one.stream.attached.is_set())
            for tool in TOOLS:
                reply = await world.gateway.admin(f"both/{tool}_both/withdraw", {"tenant_id": "tenant:a"}, key=admin)
                assert reply.status == 200

            async def silenced() -> bool:
                id_ = f"silent-{next(NUMBERS)}"
                answer = world.servers["both"].asked[id_] = asyncio.get_running_loop().create_future()
                await found["both"].stream.write({"jsonrpc": "2.0", "id": id_, **elicit()})
                done, _ = await asyncio.wait([answer], timeout=0.2)
                return bool(done) and "error" in answer.result()

            await until(silenced)
            log = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}}
            await found["both"].stream.write(log)
            await found["legacy"].stream.write(log | {"params": {"level": "info", "data": "y"}})
            heard = [await stream.next()]
            while heard[-1]["method"] != "notifications/message":
                heard.append(await stream.next())
            assert heard[-1]["params"]["data"] == "y"
    for tool in TOOLS:
        await world.gateway.admin(f"both/{tool}_both/restore", {"tenant_id": "tenant:a"}, key=admin)
