"""What servers say before they answer, through the gateway: when it happens, to whom, and as whom."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateway import MODERN
from tests.support.talking import ERAS, LEGACY, Talking, talking
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.issuer import Issuer
    from tests.support.talker import Talk

SERVERS = pytest.mark.parametrize("server", ERAS)
VERSIONS = pytest.mark.parametrize("version", [MODERN, LEGACY, "2025-06-18", "2025-03-26"])
GATES: dict[str, asyncio.Event] = {}


def gate(name: str) -> asyncio.Event:
    return GATES.setdefault(name, asyncio.Event())


async def quiet(talk: Talk) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": "done"}]}


async def steps(talk: Talk) -> dict[str, Any]:
    """Report progress, and wait to be told that it has arrived before going on."""
    name = talk.params["arguments"].get("gate", "")
    for number in range(3):
        await talk.progress(number, total=3, message=f"step\n{number}")
        if name:
            await gate(f"{name}{number}").wait()
    return {"content": [{"type": "text", "text": "stepped"}]}


async def logs(talk: Talk) -> dict[str, Any]:
    for level in ("debug", "info", "error", "emergency"):
        await talk.log(level, {"of": level})
    return {}


async def foreign(talk: Talk) -> dict[str, Any]:
    """Say what is nobody's business, or nobody's token."""
    await talk.notify("notifications/progress", progressToken="somebody else's", progress=1)
    await talk.notify("notifications/progress", progressToken=str(talk.token), progress=1)
    await talk.notify("notifications/tools/list_changed")
    await talk.notify("notifications/of/its/own", secret=1)
    await talk.say(b'{"jsonrpc":"2.0","method":"notifications/progress","params":[1]}')
    await talk.say({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": 1, "data": 1}})
    meta = {"io.modelcontextprotocol/subscriptionId": "x", "com.example/kept": 1}
    await talk.notify("notifications/progress", progressToken=talk.token, progress=2, _meta=meta, **{"x-vendor": 1.10})
    return {}


async def fails(talk: Talk) -> dict[str, Any]:
    if talk.params["arguments"].get("late"):
        await talk.progress(1)
    return {"error": {"code": -32000, "message": "no", "data": {"n": 2**70}}}


async def pretty(talk: Talk) -> dict[str, Any]:
    """Write JSON with line ends in it, over several lines of one event."""
    body = {"jsonrpc": "2.0", "method": "notifications/progress"}
    params = {"progressToken": talk.token, "progress": 1, "message": "a\r\nevent: b\n\ndata: c"}
    text = json.dumps(body | {"params": params}, indent=1)
    await talk.say(text.replace("\n", "\ndata: ").encode())
    return {}


TOOLS = {"quiet": quiet, "steps": steps, "logs": logs, "foreign": foreign, "fails": fails, "pretty": pretty}


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> AsyncIterator[Talking]:
    async with talking(tmp_path_factory.mktemp("streams"), issuer, TOOLS) as running:
        yield running


def meta(token: Any = None, level: str | None = None) -> dict[str, Any]:
    found = {} if token is None else {"progressToken": token}
    return found if level is None else found | {"io.modelcontextprotocol/logLevel": level}


@SERVERS
@VERSIONS
async def test_progress_arrives_when_it_happens_under_the_agents_own_token(
    world: Talking, version: str, server: str
) -> None:
    for token in (7, "seven", 2**70):
        name = f"{version}{server}{token}"
        async with (
            world.agent(version) as agent,
            agent.call(f"steps_{server}", {"gate": name}, id_=token, _meta=meta(token)) as answer,
        ):
            assert answer.is_stream
            assert answer.response.headers["X-Accel-Buffering"] == "no"
            for number in range(3):
                told = await answer.next()
                assert told["method"] == "notifications/progress"
                assert told["params"] == {
                    "progressToken": token, "progress": number, "total": 3, "message": f"step\n{number}",
                }  # fmt: skip
                gate(f"{name}{number}").set()
            last = await answer.next()
            assert (last["id"], type(last["id"])) == (token, type(token))
            assert last["result"]["content"][0]["text"] == "stepped"
            assert await answer.next() is None
    sent = [one.message for one in world.servers[server].calls]
    assert token not in [one["params"]["_meta"]["progressToken"] for one in sent if "_meta" in one["params"]]


@SERVERS
@VERSIONS
@pytest.mark.parametrize("accept", ["application/json, text/event-stream", "application/json", "*/*", ""])
async def test_what_is_answered_without_a_word_before_is_plain_json(
    world: Talking, version: str, server: str, accept: str
) -> None:
    async with world.agent(version, accept=accept) as agent:
        for name, how in (("quiet", {"_meta": meta(1)}), ("steps", {}), ("logs", {})):
            async with agent.call(f"{name}_{server}", **how) as answer:
                assert answer.response.content_type == "application/json"
                assert (await answer.json())["result"]["content"] is not None


@SERVERS
@VERSIONS
async def test_an_agent_that_takes_only_json_hears_the_answer_alone(world: Talking, version: str, server: str) -> None:
    async with (
        world.agent(version, accept="application/json") as agent,
        agent.call(f"steps_{server}", _meta=meta(1)) as answer,
    ):
        assert answer.response.content_type == "application/json"
        assert (await answer.json())["result"]["content"][0]["text"] == "stepped"


@VERSIONS
@pytest.mark.parametrize("accept", ["text/event-stream", "text/event-stream, application/json", "text/*"])
async def test_an_agent_that_wants_a_stream_gets_every_result_as_one(world: Talking, version: str, accept: str) -> None:
    async with world.agent(version, accept=accept) as agent:
        async with agent.call("quiet_both") as answer:
            assert answer.is_stream
            assert [one["result"]["content"] for one in await answer.rest()] == [[{"type": "text", "text": "done"}]]
        async with agent.ask("tools/list") as answer:
            assert answer.is_stream
            assert len((await answer.rest())[0]["result"]["tools"]) == 3 * len(TOOLS)


async def test_curl_gets_a_stream_where_it_asked_for_progress_and_plain_json_else(world: Talking) -> None:
    async with (
        world.agent("2025-03-26", accept="*/*") as agent,
        agent.call("steps_both", _meta=meta("t")) as answer,
    ):
        assert [one.get("method") for one in await answer.rest()] == ["notifications/progress"] * 3 + [None]


@SERVERS
@pytest.mark.parametrize(
    ("level", "heard"),
    [
        (None, []),
        ("debug", ["debug", "info", "error", "emergency"]),
        ("notice", ["error", "emergency"]),
        ("emergency", ["emergency"]),
    ],
)
async def test_a_modern_agent_hears_log_messages_at_or_above_the_level_of_its_request(
    world: Talking, server: str, level: str | None, heard: list[str]
) -> None:
    async with world.agent(MODERN) as agent, agent.call(f"logs_{server}", _meta=meta(level=level)) as answer:
        messages = await answer.rest() if answer.is_stream else [await answer.json()]
    assert [one["params"]["data"]["of"] for one in messages[:-1]] == heard
    assert "result" in messages[-1]


@SERVERS
async def test_an_older_agent_sets_its_level_once_for_its_session(world: Talking, server: str) -> None:
    async with world.agent(LEGACY) as agent:
        await agent.open()

        async def heard() -> list[str]:
            async with agent.call(f"logs_{server}") as answer:
                messages = await answer.rest() if answer.is_stream else [await answer.json()]
            return [one["params"]["level"] for one in messages[:-1]]

        # Until it says something the server decides.
        assert await heard() == ["debug", "info", "error", "emergency"]
        async with agent.ask("logging/setLevel", {"level": "error"}) as answer:
            assert (await answer.json())["result"] == {}
        assert await heard() == ["error", "emergency"]
        if server != "modern":
            assert [one.level for one in world.servers[server].sessions.values()][-1] == "error"
        async with world.agent(LEGACY) as other:
            await other.open()
            async with other.call(f"logs_{server}") as answer:
                assert len(await answer.rest()) == 5


async def test_a_level_needs_a_session_and_has_to_be_one(world: Talking) -> None:
    async with world.agent(LEGACY) as agent:
        for opened, level, code in ((False, "info", -32600), (True, "loud", -32602), (True, None, -32602)):
            if opened and agent.session is None:
                await agent.open()
            async with agent.ask("logging/setLevel", {"level": level}) as answer:
                assert (await answer.json())["error"]["code"] == code
    async with world.agent(MODERN) as agent, agent.call("logs_both", _meta=meta(level="loud")) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (400, -32602)


@SERVERS
@VERSIONS
async def test_what_is_for_somebody_else_or_of_no_known_kind_is_not_passed_on(
    world: Talking, version: str, server: str
) -> None:
    async with world.agent(version) as agent, agent.call(f"foreign_{server}", _meta=meta("t")) as answer:
        only, last = await answer.rest()
    assert only["params"] == {"progressToken": "t", "progress": 2, "_meta": {"com.example/kept": 1}, "x-vendor": 1.1}
    assert "result" in last


@SERVERS
@VERSIONS
async def test_json_over_several_lines_is_one_event_and_frames_nothing_of_its_own(
    world: Talking, version: str, server: str
) -> None:
    async with world.agent(version) as agent, agent.call(f"pretty_{server}", _meta=meta("t")) as answer:
        told, last = await answer.rest()
    assert told["params"]["message"] == "a\r\nevent: b\n\ndata: c"
    assert "result" in last


@SERVERS
@VERSIONS
async def test_an_error_before_the_first_word_keeps_its_status_and_a_later_one_ends_the_stream(
    world: Talking, version: str, server: str
) -> None:
    async with world.agent(version) as agent:
        async with agent.call(f"fails_{server}", _meta=meta("t")) as answer:
            assert answer.response.content_type == "application/json"
            assert (await answer.json())["error"] == {"code": -32000, "message": "no", "data": {"n": 2**70}}
        async with agent.call(f"fails_{server}", {"late": True}, _meta=meta("t")) as answer:
            assert [one.get("error", {}).get("code") for one in await answer.rest()] == [None, -32000]
        async with agent.call("nobodys", _meta=meta("t")) as answer:
            assert answer.status == (400 if version == MODERN else 200)
            assert (await answer.json())["error"]["message"] == "Unknown tool: nobodys"


@SERVERS
async def test_a_call_has_one_event_whatever_was_said_before_its_answer(world: Talking, server: str) -> None:
    async with world.agent(MODERN) as agent, agent.call(f"steps_{server}", _meta=meta("t")) as answer:
        request_id = answer.response.headers["X-Request-Id"]
        await answer.rest()
    (event,) = await world.gateway.events(source__request_id=request_id)
    assert (event["type"], event["outcome"]) == ("ToolCalled", "success")
    assert (event["target"]["streamed"], event["target"]["notifications"]) == (True, 3)


async def test_a12_a_thousand_calls_at_once_under_equal_ids_and_tokens_never_meet(world: Talking) -> None:
    async def echo(talk: Talk) -> dict[str, Any]:
        who = talk.params["arguments"]["who"]
        for number in range(3):
            await talk.progress(number, message=who)
            await asyncio.sleep(0)
        return {"structuredContent": {"who": who}}

    for name, server in world.servers.items():
        server.tools[f"quiet_{name}"] = echo
    version = {"both": LEGACY, "modern": MODERN, "legacy": LEGACY}
    agents = [
        await world.agent(version[server], f"tenant:{tenant}", sub).__aenter__()
        for server in ERAS
        for tenant in "ab"
        for sub in ("jo", "al")
    ]
    try:
        for agent in agents[:8]:
            if agent.version == LEGACY:
                await agent.open()
        room = asyncio.Semaphore(100)

        async def one(number: int) -> None:
            at = number % len(agents)
            who, server = f"agent {at} call {number}", list(ERAS)[at // 4]
            async with room, agents[at].call(f"quiet_{server}", {"who": who}, id_=1, _meta=meta(1)) as answer:
                messages = await answer.rest()
            assert [one["params"]["message"] for one in messages[:-1]] == [who] * 3
            assert {one["params"]["progressToken"] for one in messages[:-1]} == {1}
            assert (messages[-1]["id"], messages[-1]["result"]["structuredContent"]) == (1, {"who": who})

        await asyncio.gather(*(one(number) for number in range(1000)))
    finally:
        for agent in agents:
            await agent.http.close()
        for name, server in world.servers.items():
            server.tools[f"quiet_{name}"] = quiet
    for server in world.servers.values():
        tokens = [one.message["params"]["_meta"]["progressToken"] for one in server.calls[-300:]]
        assert len(set(tokens)) == len(tokens)


@SERVERS
async def test_a_slow_agent_slows_the_server_down_and_nothing_is_kept_for_it(world: Talking, server: str) -> None:
    said = 0

    async def flood(talk: Talk) -> dict[str, Any]:
        nonlocal said
        for number in range(2000):
            await talk.progress(number, message="x" * 32_768)
            said = number
        return {}

    world.servers[server].tools[f"quiet_{server}"] = flood
    try:
        async with world.agent(MODERN) as agent, agent.call(f"quiet_{server}", _meta=meta("t")) as answer:
            assert (await answer.next())["params"]["progress"] == 0
            looks: list[int] = []

            def it_waits() -> bool:
                looks.append(said)
                return len(looks) > 30 and len(set(looks[-30:])) == 1

            await until(it_waits, what="the server waits for the agent")
            # What lies in the sockets on the way and in each buffer, and no more.
            assert said < 1000
    finally:
        world.servers[server].tools[f"quiet_{server}"] = quiet
    await until(lambda: world.servers[server].gone or world.servers[server].cancelled)
