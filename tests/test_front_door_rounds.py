"""Calls in several rounds: what a server wants is passed on, and its state opens for the very call it is of (A41)."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateway import MODERN
from tests.support.streaming import CAN
from tests.support.talking import LEGACY, Talking, talking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.issuer import Issuer
    from tests.support.talker import Talk

STATE = "what the server wants back: ü \U0001f600"
FORM = {"message": "Who?", "requestedSchema": {"type": "object"}}
MESSAGES = {"messages": [{"role": "user", "content": {"type": "text", "text": "x"}}], "maxTokens": 5}
WANTED = {
    "who": {"method": "elicitation/create", "params": FORM},
    "what": {"method": "sampling/createMessage", "params": MESSAGES},
    "where": {"method": "roots/list"},
}
GIVEN = {
    "who": {"action": "accept", "content": {"n": 2**70}},
    "what": {"role": "assistant", "content": {"type": "text", "text": "y"}, "model": "m"},
    "where": {"roots": []},
}


async def rounds(talk: Talk) -> dict[str, Any]:
    """Want everything first, then answer with what came; the state is left out where the arguments say so."""
    given, state = talk.params.get("inputResponses"), talk.params.get("requestState")
    arguments = talk.params["arguments"]
    if given is None and state is None:
        wanted = {"inputRequests": arguments.get("wanted", WANTED)}
        return {
            "resultType": "input_required",
            **wanted,
            **({} if arguments.get("stateless") else {"requestState": STATE}),
        }
    return {"structuredContent": {"given": given, "state": state}}


async def endless(talk: Talk) -> dict[str, Any]:
    number = int(talk.params.get("requestState") or 0) + 1
    return {"resultType": "input_required", "inputRequests": WANTED, "requestState": str(number)}


async def odd(talk: Talk) -> dict[str, Any]:
    return {"resultType": "input_required", **talk.params["arguments"]["members"]}


async def needs(talk: Talk) -> dict[str, Any]:
    data = {"requiredCapabilities": {"sampling": {}}}
    return {"status": 400, "error": {"code": -32021, "message": "needs sampling", "data": data}}


async def needs_url(talk: Talk) -> dict[str, Any]:
    wanted = [{"mode": "url", "elicitationId": "e1", "url": "https://x.example/go", "message": "Go there"}]
    if talk.params["arguments"].get("been"):
        return {}
    return {"error": {"code": -32042, "message": "go first", "data": {"elicitations": wanted}}}


TOOLS = {"rounds": rounds, "endless": endless, "odd": odd, "needs": needs, "needs_url": needs_url}


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> AsyncIterator[Talking]:
    async with talking(tmp_path_factory.mktemp("rounds"), issuer, TOOLS) as running:
        yield running


SERVERS = pytest.mark.parametrize("server", ["both", "modern"])
CALL = {"amount": 1, "deep": {"a": [2**70, 1.5], "b": None}}


@SERVERS
async def test_what_a_server_wants_reaches_a_modern_agent_and_what_it_gives_the_server(
    world: Talking, server: str
) -> None:
    async with world.agent(MODERN) as agent:
        first = (await agent.result(f"rounds_{server}", CALL))["result"]
        assert (first["resultType"], first["inputRequests"]) == ("input_required", WANTED)
        assert STATE not in first["requestState"]
        # The same arguments, in another order.
        again = json.loads(json.dumps(dict(reversed(CALL.items()))))
        sent = {"inputResponses": GIVEN | {"more": {}}, "requestState": first["requestState"]}
        last = (await agent.result(f"rounds_{server}", again, **sent))["result"]
        assert last["structuredContent"] == {"given": GIVEN | {"more": {}}, "state": STATE}
        # Each round was decided, and says so.
        events = (await world.gateway.events(type="ToolCalled", target__name=f"rounds_{server}"))[-2:]
        assert [event["outcome"] for event in events] == ["success", "success"]


async def test_a_server_that_hands_out_no_state_gets_none_back(world: Talking) -> None:
    async with world.agent(MODERN) as agent:
        first = (await agent.result("rounds_both", {"stateless": True}))["result"]
        assert "requestState" not in first
        last = (await agent.result("rounds_both", {"stateless": True}, inputResponses=GIVEN))["result"]
        assert last["structuredContent"] == {"given": GIVEN, "state": None}


async def test_a41_a_state_is_good_for_the_call_it_was_handed_out_for_and_nothing_else(world: Talking) -> None:
    before = len(world.servers["both"].calls) + len(world.servers["modern"].calls)
    async with world.agent(MODERN) as agent, world.agent(MODERN, sub="al") as al, world.agent(MODERN, "tenant:b") as b:
        state = (await agent.result("rounds_both", CALL))["result"]["requestState"]
        tampered = state[:-3] + ("A" if state[-3] != "A" else "B") + state[-2:]
        attempts: list[tuple[Any, str, Any, str]] = [
            (al, "rounds_both", CALL, state),
            (b, "rounds_both", CALL, state),
            (agent, "rounds_modern", CALL, state),
            (agent, "endless_both", CALL, state),
            (agent, "rounds_both", {**CALL, "amount": 2}, state),
            (agent, "rounds_both", {**CALL, "amount": "1"}, state),
            (agent, "rounds_both", {}, state),
            (agent, "rounds_both", CALL, tampered),
            (agent, "rounds_both", CALL, STATE),
            (agent, "rounds_both", CALL, ""),
        ]
        for who, tool, arguments, presented in attempts:
            sent = {"inputResponses": GIVEN, "requestState": presented}
            async with who.call(tool, arguments, **sent) as answer:
                error = (await answer.json())["error"]
                assert (answer.status, error["code"]) == (400, -32602)
                assert error["message"] == "requestState is not what was handed out for this request"
        # It is still good for what it is of.
        last = await agent.result("rounds_both", CALL, inputResponses=GIVEN, requestState=state)
        assert last["result"]["structuredContent"]["state"] == STATE
    assert len(world.servers["both"].calls) + len(world.servers["modern"].calls) == before + 2
    refused = await world.gateway.events(type="AuthorizationDenied", reason="request_state")
    assert len(refused) == len(attempts)
    assert {one["tenant"] for one in refused} == {"tenant:a", "tenant:b"}


async def test_every_round_is_decided_again(world: Talking) -> None:
    admin = await world.gateway.key()
    async with world.agent(MODERN) as agent:
        state = (await agent.result("rounds_both", CALL))["result"]["requestState"]
        await world.gateway.admin("both/rounds_both/withdraw", {"tenant_id": "tenant:a"}, key=admin)
        try:
            sent = {"inputResponses": GIVEN, "requestState": state}
            last = await agent.result("rounds_both", CALL, **sent)
            assert last["error"]["message"] == "Unknown tool: rounds_both"
        finally:
            await world.gateway.admin("both/rounds_both/restore", {"tenant_id": "tenant:a"}, key=admin)


@SERVERS
@pytest.mark.parametrize(
    "wanted",
    [
        {"x": {"method": "sampling/createMessage", "params": {}}},
        {"x": {"method": "elicitation/create", "params": {"mode": "url", "url": "https://x", "message": "m"}}},
        {"x": {"method": "roots/list"}, "y": {"method": "elicitation/create", "params": FORM}},
        {"x": {"method": "tools/list"}},
        {"x": {"method": "elicitation/create", "params": {"mode": 5}}},
        {"x": {"params": {}}},
        {"x": 5},
        [],
        {},
    ],
)
async def test_a_server_may_want_only_what_the_agent_has_declared(world: Talking, server: str, wanted: Any) -> None:
    async with world.agent(MODERN, can={"elicitation": {}}) as agent:
        last = await agent.result(f"rounds_{server}", {"wanted": wanted, "stateless": True})
    assert last["error"]["code"] == 50200
    assert "asks for input" in last["error"]["message"]


@pytest.mark.parametrize("state", [5, {}, "x" * 300_000])
async def test_a_state_that_is_none_is_a_clear_failure(world: Talking, state: Any) -> None:
    async with world.agent(MODERN) as agent:
        last = await agent.result("odd_both", {"members": {"requestState": state}})
    assert last["error"]["code"] == 50200
    assert "state" in last["error"]["message"]


@pytest.mark.parametrize("sent", [{"inputResponses": []}, {"inputResponses": "x"}, {"requestState": 5}])
async def test_a_round_that_is_none_has_invalid_parameters(world: Talking, sent: dict[str, Any]) -> None:
    async with world.agent(MODERN) as agent, agent.call("rounds_both", CALL, **sent) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (400, -32602)


@pytest.mark.parametrize("version", [LEGACY, "2025-06-18"])
async def test_an_older_agent_is_asked_on_its_stream_for_what_a_modern_server_wants(
    world: Talking, version: str
) -> None:
    async with world.agent(version) as agent:
        await agent.open()
        async with agent.call("rounds_modern", CALL) as answer:
            asked = {}
            for _ in WANTED:
                question = await answer.next()
                asked[question["method"]] = question
            assert {method: one.get("params") for method, one in asked.items()} == {
                one["method"]: one.get("params") for one in WANTED.values()
            }
            for key, one in WANTED.items():
                await agent.reply(asked[one["method"]]["id"], result=GIVEN[key])
            last = await answer.next()
            request_id = answer.response.headers["X-Request-Id"]
    assert last["result"]["structuredContent"] == {"given": GIVEN, "state": STATE}
    assert "resultType" not in last["result"]
    (event,) = await world.gateway.events(source__request_id=request_id)
    assert (event["outcome"], event["target"]["questions"]) == ("success", 3)


async def test_a_round_that_the_gateway_begins_is_decided_first(world: Talking) -> None:
    admin = await world.gateway.key()
    calls = len(world.servers["modern"].calls)
    async with world.agent(LEGACY) as agent:
        await agent.open()
        async with agent.call("rounds_modern", {"wanted": {"who": WANTED["who"]}}) as answer:
            question = await answer.next()
            await world.gateway.admin("modern/rounds_modern/withdraw", {"tenant_id": "tenant:a"}, key=admin)
            await agent.reply(question["id"], result=GIVEN["who"])
            try:
                *_, last = await answer.rest()
            finally:
                await world.gateway.admin("modern/rounds_modern/restore", {"tenant_id": "tenant:a"}, key=admin)
    assert last["error"]["message"] in ("Unknown tool: rounds_modern", "The call was stopped: not permitted any more")
    assert len(world.servers["modern"].calls) == calls + 1


async def test_an_older_agent_that_gives_nothing_ends_the_call(world: Talking) -> None:
    async with world.agent(LEGACY) as agent:
        await agent.open()
        async with agent.call("rounds_modern", {"wanted": {"who": WANTED["who"]}}) as answer:
            question = await answer.next()
            await agent.reply(question["id"], error={"code": -1, "message": "no"})
            last = await answer.next()
    assert last["error"]["message"] == "Server modern: asked for input that the agent did not give"


async def test_a_server_that_wants_input_without_an_end_does_not_get_it(world: Talking) -> None:
    async with world.agent(LEGACY, can={"elicitation": {}, "sampling": {}, "roots": {}}) as agent:
        await agent.open()
        async with agent.call("endless_modern") as answer:
            while "method" in (message := await answer.next()):
                reply = {one["method"]: GIVEN[key] for key, one in WANTED.items()}[message["method"]]
                await agent.reply(message["id"], result=reply)
    assert message["error"]["message"] == "Server modern: asks for input again and again"


@pytest.mark.parametrize("how", ["without a session", "undeclared", "by JSON alone"])
async def test_an_older_agent_that_cannot_be_asked_gets_a_clear_error(world: Talking, how: str) -> None:
    accept = "application/json" if how == "by JSON alone" else "application/json, text/event-stream"
    async with world.agent(LEGACY, can={} if how == "undeclared" else None, accept=accept) as agent:
        if how != "without a session":
            await agent.open()
        last = await agent.result("rounds_modern", CALL)
    assert last["error"]["code"] == 50200
    assert last["error"]["message"] == "Server modern: asks for input that cannot be asked for through this gateway"


@SERVERS
async def test_a_missing_capability_is_passed_on_with_its_data_or_said_in_the_words_of_the_older_era(
    world: Talking, server: str
) -> None:
    async with world.agent(MODERN, can={}) as agent, agent.call(f"needs_{server}") as answer:
        error = (await answer.json())["error"]
        assert (answer.status, error["code"]) == (400, -32021)
        assert error["data"] == {"requiredCapabilities": {"sampling": {}}}
    async with world.agent(LEGACY, can={}) as agent:
        result = (await agent.result(f"needs_{server}"))["result"]
        assert result["isError"] is True
        assert "not available through this gateway" in result["content"][0]["text"]


async def test_a_url_to_be_opened_first_is_said_in_the_way_of_each_era(world: Talking) -> None:
    async with world.agent(MODERN) as agent:
        first = (await agent.result("needs_url_legacy"))["result"]
        assert first["resultType"] == "input_required"
        params = {"mode": "url", "url": "https://x.example/go", "message": "Go there"}
        assert first["inputRequests"] == {"elicitation-1": {"method": "elicitation/create", "params": params}}
        given = {"elicitation-1": {"action": "accept"}}
        last = await agent.result("needs_url_legacy", {"been": True}, inputResponses=given)
        assert last["result"]["resultType"] == "complete"
        assert "inputResponses" not in world.servers["legacy"].calls[-1].message["params"]
    async with world.agent(LEGACY) as agent:
        await agent.open()
        error = (await agent.result("needs_url_legacy"))["error"]
        assert (error["code"], error["data"]["elicitations"][0]["elicitationId"]) == (-32042, "e1")
    for version in (MODERN, LEGACY):
        async with world.agent(version, can={"elicitation": {}}) as agent:
            assert (await agent.result("needs_url_legacy"))["error"]["code"] == -32603


async def test_states_of_many_callers_at_once_are_never_mixed(world: Talking) -> None:
    async def one(number: int) -> None:
        async with world.agent(MODERN, f"tenant:{'ab'[number % 2]}", f"user{number % 5}", can=CAN) as agent:
            arguments = {"number": number, "wanted": WANTED}
            state = (await agent.result("rounds_both", arguments))["result"]["requestState"]
            last = await agent.result("rounds_both", arguments, inputResponses={"n": {"n": number}}, requestState=state)
            assert last["result"]["structuredContent"] == {"given": {"n": {"n": number}}, "state": STATE}

    await asyncio.gather(*(one(number) for number in range(60)))
