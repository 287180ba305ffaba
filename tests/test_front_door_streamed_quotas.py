"""Quotas and streams: a call that talks takes one slot until it ends, however that is, and who listens takes none."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateway import MODERN
from tests.support.talking import LEGACY, Talking, talking
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.issuer import Issuer
    from tests.support.talker import Talk

VERSIONS = pytest.mark.parametrize("version", [MODERN, LEGACY])
SLOTS, RATE = "tenant:a", "tenant:b"
GO = asyncio.Event()


async def talks(talk: Talk) -> dict[str, Any]:
    """Say something, and answer when the test says so."""
    await talk.progress(1)
    await GO.wait()
    return {"content": [{"type": "text", "text": "over"}]}


async def quick(talk: Talk) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": "done"}]}


async def breaks(talk: Talk) -> dict[str, Any]:
    """Say something, and end without an answer."""
    await talk.progress(1)
    raise ConnectionError


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> AsyncIterator[Talking]:
    tenants = [
        {"id": SLOTS, "quotas": {"max_concurrent_requests": 1}},
        {"id": RATE, "quotas": {"requests_per_minute": 6}},
    ]
    tools = {"talks": talks, "quick": quick, "breaks": breaks}
    folder = tmp_path_factory.mktemp("quotas")
    async with talking(folder, issuer, tools, sections={"tenants": tenants}) as running:
        running.key = await running.gateway.key()
        yield running


async def used(world: Talking) -> int:
    """Return how many slots of the tenant are in use, as the metrics say."""
    reply = await world.gateway.http("GET", "/metrics", X_API_Key=world.key)
    found = re.search(rf'portcullis_tenant_requests_in_flight{{tenant="{SLOTS}"}} (\d+)', reply.body.decode())
    return int(found[1]) if found else 0


async def free(world: Talking) -> bool:
    return await used(world) == 0


@VERSIONS
async def test_a_call_that_talks_holds_its_slot_until_it_is_answered(world: Talking, version: str) -> None:
    GO.clear()
    async with world.agent(version) as agent, world.agent(version) as other:
        async with agent.call("talks_both", _meta={"progressToken": 1}) as answer:
            assert (await answer.next())["method"] == "notifications/progress"
            assert await used(world) == 1
            refused = await other.result("quick_both")
            assert (refused["error"]["code"], refused["error"]["data"]["limit"]) == (42900, "max_concurrent_requests")
            GO.set()
            assert (await answer.next())["result"]["content"][0]["text"] == "over"
        await until(lambda: free(world))
        assert "result" in await other.result("quick_both")


@pytest.mark.parametrize("server", ["both", "legacy"])
async def test_the_slot_of_a_call_that_talks_comes_back_when_its_agent_stops_it(world: Talking, server: str) -> None:
    GO.clear()
    async with world.agent(MODERN) as agent, agent.call(f"talks_{server}", _meta={"progressToken": 1}) as answer:
        await answer.next()
        assert await used(world) == 1
    await until(lambda: free(world))
    async with world.agent(LEGACY) as agent:
        await agent.open()
        async with agent.call(f"talks_{server}", id_=7, _meta={"progressToken": 1}) as answer:
            await answer.next()
            await agent.tell("notifications/cancelled", requestId=7)
            assert (await answer.next())["error"]["code"] == 49900
    await until(lambda: free(world))


@VERSIONS
async def test_the_slot_of_a_call_that_talks_comes_back_when_its_server_breaks(world: Talking, version: str) -> None:
    async with world.agent(version) as agent:
        failed = await agent.result("breaks_modern", _meta={"progressToken": 1})
    assert failed["error"]["code"] == 50200
    await until(lambda: free(world))


async def test_who_listens_holds_no_slot_and_is_counted_once(world: Talking) -> None:
    async with world.agent(LEGACY) as agent:
        await agent.open()
        async with agent.listen() as stream:
            assert stream.is_stream
            assert await used(world) == 0
            assert "result" in await agent.result("quick_both")
    async with world.agent(LEGACY, RATE) as agent:
        await agent.open()
        for _ in range(6):
            async with agent.listen() as stream:
                assert stream.status == 200
        async with agent.listen() as stream:
            assert stream.status == 429
            assert int(stream.response.headers["Retry-After"]) >= 1
