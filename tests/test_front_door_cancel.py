"""How calls end before they are answered: by hanging up, by a notification, by time, by the loss of the right (A28)."""

from __future__ import annotations

import asyncio
import json
import time
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
OLDER = pytest.mark.parametrize("version", [LEGACY, "2025-06-18", "2025-03-26"])
GO = asyncio.Event()


async def waits(talk: Talk) -> dict[str, Any]:
    """Say something if asked to, and do nothing until the test is over."""
    if talk.params["arguments"].get("talk"):
        await talk.progress(0)
    await GO.wait()
    return {"content": [{"type": "text", "text": "waited"}]}


async def endless(talk: Talk) -> dict[str, Any]:
    """Report progress for as long as anybody listens."""
    for number in range(10_000):
        await talk.progress(number)
        await asyncio.sleep(0.02)
    return {}


TOOLS = {"waits": waits, "endless": endless}


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> AsyncIterator[Talking]:
    async with talking(tmp_path_factory.mktemp("cancel"), issuer, TOOLS) as running:
        yield running


def stopped(world: Talking, server: str, version: str = MODERN) -> int:
    """Return how many calls were given up at a server, in the way of the era that it was called in."""
    # The end of a connection says it to a modern one, and a notification to an older one.
    in_session = server == "legacy" or (server == "both" and version != MODERN)
    return len(world.servers[server].cancelled if in_session else world.servers[server].gone)


@SERVERS
@pytest.mark.parametrize("talk", [False, True])
async def test_a_modern_agent_that_hangs_up_stops_its_call_in_every_era(
    world: Talking, server: str, talk: bool
) -> None:
    before, calls = stopped(world, server), len(world.servers[server].calls)
    async with world.agent(MODERN) as agent:
        if talk:
            async with agent.call(f"waits_{server}", {"talk": True}, _meta={"progressToken": 1}) as answer:
                await answer.next()
        else:
            task = asyncio.ensure_future(agent.result(f"waits_{server}"))
            await until(lambda: len(world.servers[server].calls) > calls)
            task.cancel()
    await until(lambda: stopped(world, server) > before)
    (event, *_) = (await world.gateway.events(type="ToolCalled", target__server=server))[::-1]
    assert (event["outcome"], event["reason"]) == ("error", "cancelled")


@SERVERS
@OLDER
async def test_an_older_agent_that_hangs_up_stops_nothing(world: Talking, version: str, server: str) -> None:
    target = world.servers[server]
    before = stopped(world, server, version)
    async with world.agent(version) as agent:
        await agent.open()
        async with agent.call(f"waits_{server}", {"talk": True}, _meta={"progressToken": 1}) as answer:
            await answer.next()
            request_id = answer.response.headers["X-Request-Id"]
    calls = len(target.calls)
    GO.set()
    try:
        (event,) = await world.gateway.events(source__request_id=request_id)
    finally:
        GO.clear()
    assert (event["type"], event["outcome"]) == ("ToolCalled", "success")
    assert (stopped(world, server, version), len(target.calls)) == (before, calls)


@SERVERS
@OLDER
@pytest.mark.parametrize("talk", [False, True])
async def test_an_older_agent_stops_a_call_of_its_own_session_by_a_notification(
    world: Talking, version: str, server: str, talk: bool
) -> None:
    before, calls = stopped(world, server, version), len(world.servers[server].calls)
    async with world.agent(version) as agent:
        await agent.open()
        sent = {"talk": True} if talk else {}
        task = asyncio.ensure_future(agent.result(f"waits_{server}", sent, _meta={"progressToken": 1}))
        await until(lambda: len(world.servers[server].calls) > calls)
        id_ = next(agent.ids) - 1
        assert await agent.tell("notifications/cancelled", requestId=id_, reason="enough") == 202
        error = (await task)["error"]
    assert (error["code"], error["message"]) == (49900, "The call was stopped: cancelled by the agent")
    await until(lambda: stopped(world, server, version) > before)
    event = (await world.gateway.events(type="ToolCalled", target__server=server))[-1]
    assert (event["reason"], event["target"]["detail"]) == ("cancelled", "cancelled by the agent")


async def test_nobody_stops_a_call_of_another_session_nor_one_without(world: Talking) -> None:
    server = world.servers["both"]
    async with world.agent(LEGACY) as jo, world.agent(LEGACY, sub="al") as al, world.agent(LEGACY) as again:
        for agent in (jo, al, again):
            await agent.open()
        calls = len(server.calls)
        task = asyncio.ensure_future(jo.result("waits_both"))
        await until(lambda: len(server.calls) > calls)
        id_ = next(jo.ids) - 1
        for other in (al, again):
            assert await other.tell("notifications/cancelled", requestId=id_) == 202
        for odd in (str(id_), None, [id_], float(id_) + 0.5, True):
            assert await jo.tell("notifications/cancelled", requestId=odd) == 202
        jo.session, session = None, jo.session
        assert await jo.tell("notifications/cancelled", requestId=id_) == 202
        jo.session = session
        assert not task.done()
        GO.set()
        try:
            assert (await task)["result"]["content"][0]["text"] == "waited"
        finally:
            GO.clear()
    assert not server.cancelled or server.calls[-1].message["id"] not in server.cancelled


async def test_progress_does_not_make_a_call_last_longer_than_its_time(
    tmp_path_factory: pytest.TempPathFactory, issuer: Issuer
) -> None:
    async with talking(tmp_path_factory.mktemp("time"), issuer, TOOLS, {"timeout_seconds": 1}) as short:

        async def one(server: str) -> None:
            async with (
                short.agent(MODERN) as agent,
                agent.call(f"endless_{server}", _meta={"progressToken": 1}) as answer,
            ):
                *told, last = await answer.rest()
            assert told
            assert last["error"] == {"code": 50200, "message": f"Server {server}: gave no answer within 1 s"}
            assert len(short.servers[server].calls) == 1
            await until(lambda: stopped(short, server))

        await asyncio.gather(*map(one, ERAS))


async def new_key(world: Talking) -> tuple[str, str]:
    """Return the id of a key of a tenant's, and the key, once it is known."""
    key = await world.gateway.key("service:agent", "--tenant", "tenant:a", role="developer")
    status, out, err = await world.gateway.cli("key", "list", "--json")
    assert status == 0, err
    listed = [json.loads(line) for line in out.splitlines()]
    every = listed[0] if len(listed) == 1 and isinstance(listed[0], list) else listed
    return max(every, key=lambda one: one["created_at"])["id"], key


@pytest.mark.parametrize("version", [MODERN, LEGACY])
async def test_a28_a_stream_ends_when_its_credential_is_revoked(world: Talking, version: str) -> None:
    id_, key = await new_key(world)
    async with world.agent(version) as agent:
        agent.credential = {"X-API-Key": key}
        if version == LEGACY:
            await agent.open()
        async with agent.call("endless_both", _meta={"progressToken": 1}) as answer:
            await answer.next()
            request_id = answer.response.headers["X-Request-Id"]
            status, _, err = await world.gateway.cli("key", "revoke", id_)
            assert status == 0, err
            *_, last = await answer.rest()
    assert last["error"] == {"code": 40100, "message": "The call was stopped: not permitted any more"}
    (event,) = await world.gateway.events(source__request_id=request_id)
    assert (event["reason"], event["target"]["detail"]) == ("cancelled", "not permitted any more")


@pytest.mark.parametrize("version", [MODERN, LEGACY])
async def test_a28_a_stream_ends_when_its_credential_expires(world: Talking, version: str) -> None:
    async with world.agent(version) as agent:
        token = world.issuer.mint(tenant_id="tenant:a", exp=int(time.time()) + 3)
        agent.credential = {"Authorization": f"Bearer {token}"}
        async with agent.call("endless_both", _meta={"progressToken": 1}) as answer:
            *_, last = await answer.rest()
    assert last["error"] == {"code": 40100, "message": "The call was stopped: credential expired"}


async def test_a_stream_ends_when_what_it_is_of_is_withdrawn_and_no_other_does(world: Talking) -> None:
    admin = await world.gateway.key()
    async with (
        world.agent(MODERN) as jo,
        world.agent(MODERN, "tenant:b") as al,
        jo.call("endless_both", _meta={"progressToken": 1}) as withdrawn,
        al.call("endless_both", _meta={"progressToken": 1}) as kept,
        jo.call("endless_modern", _meta={"progressToken": 1}) as other,
    ):
        for one in (withdrawn, kept, other):
            await one.next()
        reply = await world.gateway.admin("both/endless_both/withdraw", {"tenant_id": "tenant:a"}, key=admin)
        assert reply.status == 200
        *_, last = await withdrawn.rest()
        for one in (kept, other):
            assert (await one.next())["method"] == "notifications/progress"
    assert last["error"]["message"] == "The call was stopped: not permitted any more"
    await world.gateway.admin("both/endless_both/restore", {"tenant_id": "tenant:a"}, key=admin)
