"""Who listens is told when what it sees has become something else, and nobody else is; until it may listen no more."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateway import MODERN
from tests.support.talking import LEGACY, Talking, talking
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.issuer import Issuer
    from tests.support.streaming import Answer, StreamingAgent
    from tests.support.talker import Talk

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
TOOLS_CHANGED = "notifications/tools/list_changed"
EVERYTHING = {
    "toolsListChanged": True,
    "promptsListChanged": True,
    "resourcesListChanged": True,
    "resourceSubscriptions": ["x://y"],
    "com.example/weather": True,
}
# Nobody has the resource, and so nobody can hear of it.
HONOURED = {name: True for name in EVERYTHING if name.endswith("ListChanged")}
VERSIONS = pytest.mark.parametrize("version", [MODERN, LEGACY])
SERVERS = pytest.mark.parametrize("server", ["both", "legacy"])


async def quiet(_: Talk) -> dict[str, Any]:
    return {}


async def announces(talk: Talk) -> dict[str, Any]:
    await talk.notify(TOOLS_CHANGED)
    return {}


TOOLS = {"quiet": quiet, "spare": quiet, "announces": announces}


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> AsyncIterator[Talking]:
    folder = tmp_path_factory.mktemp("listening")
    async with talking(folder, issuer, TOOLS, announces=True) as running:
        for name in ("both", "modern"):
            await until(lambda name=name: running.servers[name].subscribed, what=f"{name} is listened to")
        await until(lambda: running.servers["legacy"].listening, what="legacy is listened to")
        yield running


class Ears:
    """Agents that listen, each in the way of its era."""

    def __init__(self, stack: AsyncExitStack, world: Talking) -> None:
        self._stack = stack
        self._world = world

    async def listen(self, version: str, tenant: str = "tenant:a", filter_: Any = None, id_: Any = 7) -> Answer:
        """Return the stream of an agent; of a modern one, after the acknowledgement."""
        return (await self.agent(version, tenant, filter_, id_))[1]

    async def agent(
        self, version: str, tenant: str = "tenant:a", filter_: Any = None, id_: Any = 7
    ) -> tuple[StreamingAgent, Answer]:
        """Return the agent, too."""
        agent = await self._stack.enter_async_context(self._world.agent(version, tenant))
        if version == LEGACY:
            await agent.open()
            return agent, await self._stack.enter_async_context(agent.listen())
        wanted = {"toolsListChanged": True} if filter_ is None else filter_
        asking = agent.ask("subscriptions/listen", {"notifications": wanted}, id_=id_)
        stream = await self._stack.enter_async_context(asking)
        assert (await stream.next())["method"] == "notifications/subscriptions/acknowledged"
        return agent, stream


@pytest.fixture
async def ears(world: Talking) -> AsyncIterator[Ears]:
    async with AsyncExitStack() as stack:
        yield Ears(stack, world)


async def withdraw(world: Talking, tenant: str | None, tool: str = "both/spare_both", verb: str = "withdraw") -> None:
    key = world.key = world.key or await world.gateway.key()
    reply = await world.gateway.admin(f"{tool}/{verb}", {"tenant_id": tenant}, key=key)
    assert reply.status == 200


async def names(agent: StreamingAgent) -> set[str]:
    async with agent.ask("tools/list") as answer:
        return {one["name"] for one in (await answer.json())["result"]["tools"]}


@pytest.mark.parametrize("id_", [7, "7", ""])
async def test_a_subscription_is_acknowledged_with_what_it_gets_under_its_own_id(world: Talking, id_: Any) -> None:
    async with (
        world.agent(MODERN) as agent,
        agent.ask("subscriptions/listen", {"notifications": EVERYTHING}, id_=id_) as stream,
    ):
        assert (stream.status, stream.response.headers["X-Accel-Buffering"]) == (200, "no")
        first = await stream.next()
    assert first["method"] == "notifications/subscriptions/acknowledged"
    assert first["params"] == {"_meta": {SUBSCRIPTION: id_}, "notifications": HONOURED}
    assert type(first["params"]["_meta"][SUBSCRIPTION]) is type(id_)


@pytest.mark.parametrize("wanted", [None, [], "tools", {"toolsListChanged": "yes"}, {"toolsListChanged": 1}])
async def test_a_subscription_to_nothing_that_can_be_read_has_invalid_parameters(world: Talking, wanted: Any) -> None:
    params = {} if wanted is None else {"notifications": wanted}
    async with world.agent(MODERN) as agent, agent.ask("subscriptions/listen", params) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (400, -32602)


async def test_who_takes_no_stream_cannot_subscribe(world: Talking) -> None:
    asking = {"notifications": {"toolsListChanged": True}}
    async with (
        world.agent(MODERN, accept="application/json") as agent,
        agent.ask("subscriptions/listen", asking) as answer,
    ):
        assert answer.status == 406


@VERSIONS
async def test_a_withdrawal_is_told_to_whom_it_takes_something_from_and_to_nobody_else(
    world: Talking, ears: Ears, version: str
) -> None:
    agent, stream = await ears.agent(version)
    other = await ears.listen(version, "tenant:b")
    stranger = await ears.listen(version, "tenant:unknown")
    deaf = await ears.listen(MODERN, "tenant:a", {"promptsListChanged": True})
    for verb, there in (("withdraw", False), ("restore", True)):
        await withdraw(world, "tenant:a", verb=verb)
        told = await stream.next()
        meta = {"params": {"_meta": {SUBSCRIPTION: 7}}} if version == MODERN else {}
        assert told == {"jsonrpc": "2.0", "method": TOOLS_CHANGED, **meta}
        assert ("spare_both" in await names(agent)) is there
    # Each of the others hears of what is next, and so has heard of nothing before.
    await withdraw(world, "tenant:b")
    await other.next()
    await withdraw(world, "tenant:b", verb="restore")
    await other.next()
    for one, count in ((other, 2), (stranger, 0), (deaf, 0)):
        heard = [event for event in one.seen() if TOOLS_CHANGED.encode() in event.data]
        assert len(heard) == count


@SERVERS
async def test_a_server_that_says_that_its_list_changed_is_passed_on_though_it_is_the_same_again(
    world: Talking, ears: Ears, server: str
) -> None:
    streams = [await ears.listen(version) for version in (MODERN, LEGACY)]
    stranger = await ears.listen(MODERN, "tenant:unknown")
    await world.servers[server].announce()
    for stream in streams:
        assert (await stream.next())["method"] == TOOLS_CHANGED
    assert [event.data for event in stranger.seen()][1:] == []


@SERVERS
async def test_a_tool_that_a_server_adds_is_listed_when_it_is_told_of(world: Talking, ears: Ears, server: str) -> None:
    agent, stream = await ears.agent(MODERN)
    added = f"added_{server}"
    world.servers[server].tools[added] = quiet
    await world.servers[server].announce()

    async def listed() -> bool:
        return added in await names(agent)

    # Told once by the server, and again when policy has it.
    while not await listed():
        assert (await stream.next())["method"] == TOOLS_CHANGED
    del world.servers[server].tools[added]
    await world.servers[server].announce()
    while await listed():
        assert (await stream.next())["method"] == TOOLS_CHANGED


async def test_a_definition_that_changed_is_told_to_those_who_see_something_of_its_server(
    world: Talking, ears: Ears
) -> None:
    agent, stream = await ears.agent(MODERN)
    server = world.servers["legacy"]
    server.title = "Another"
    await server.announce()

    async def title() -> str:
        async with agent.ask("tools/list") as answer:
            return next(
                one.get("title", "")
                for one in (await answer.json())["result"]["tools"]
                if one["name"] == "quiet_legacy"
            )

    while await title() != "Another":
        assert (await stream.next())["method"] == TOOLS_CHANGED


async def test_what_a_server_says_of_its_list_on_a_call_is_heard_for_all(world: Talking, ears: Ears) -> None:
    stream = await ears.listen(MODERN, "tenant:b")
    for version in (LEGACY, MODERN):
        async with world.agent(version) as agent:
            if version == LEGACY:
                await agent.open()
            async with agent.call("announces_both", _meta={"progressToken": 1}) as answer:
                messages = await answer.rest() if answer.is_stream else [await answer.json()]
        assert [one.get("method") for one in messages] == [None]
        assert (await stream.next())["method"] == TOOLS_CHANGED


async def test_a_server_that_says_so_a_thousand_times_is_listed_a_few_times(world: Talking, ears: Ears) -> None:
    stream = await ears.listen(MODERN)
    server = world.servers["modern"]
    before = len(server.of("tools/list"))
    await server.announce(1000)
    await stream.next()
    await until(lambda: len(server.of("tools/list")) > before)
    # It goes on with what it is for.
    async with world.agent(MODERN) as agent:
        assert "result" in await agent.result("quiet_modern")
    assert len(server.of("tools/list")) < before + 10
    assert len(stream.events) < 50


@VERSIONS
async def test_a28_who_listens_with_a_revoked_key_hears_nothing_more(world: Talking, ears: Ears, version: str) -> None:
    status, out, err = await world.gateway.cli(
        "key", "create", "--principal", "service:ear", "--role", "developer", "--tenant", "tenant:a", "--json"
    )
    assert status == 0, err
    created = json.loads(out)
    async with world.agent(version) as agent:
        agent.credential = {"X-API-Key": created["key"]}

        async def known() -> bool:
            async with agent.ask("tools/list") as answer:
                return answer.status == 200

        await until(known)
        if version == LEGACY:
            await agent.open()
            listening = agent.listen()
        else:
            listening = agent.ask("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, id_="s")
        async with listening as stream:
            assert stream.status == 200
            request_id = stream.response.headers["X-Request-Id"]
            status, _, err = await world.gateway.cli("key", "revoke", created["id"])
            assert status == 0, err
            *_, last = [None, *await stream.rest()]
    if version == MODERN:
        assert last["id"] == "s"
        assert last["error"] == {"code": 40100, "message": "The call was stopped: not permitted any more"}
    (event,) = await world.gateway.events(type="StreamEnded", source__request_id=request_id)
    assert event["target"]["detail"] == "not permitted any more"


async def test_who_hangs_up_is_told_of_in_the_trail(world: Talking) -> None:
    async with world.agent(MODERN) as agent:
        asking = agent.ask("subscriptions/listen", {"notifications": {}})
        async with asking as stream:
            assert (await stream.next())["params"]["notifications"] == {}
            request_id = stream.response.headers["X-Request-Id"]
    (ended,) = await world.gateway.events(type="StreamEnded", source__request_id=request_id)
    assert ended["target"]["detail"] == "the agent hung up"
    (opened,) = await world.gateway.events(type="StreamOpened", source__request_id=request_id)
    assert opened["tenant"] == ended["tenant"] == "tenant:a"


async def test_a_drain_ends_a_subscription_with_its_result_and_leaves_the_servers(
    tmp_path: Path, issuer: Issuer
) -> None:
    async with talking(tmp_path, issuer, {"quiet": quiet}, announces=True) as short:
        await until(lambda: short.servers["modern"].subscribed)
        async with (
            short.agent(MODERN) as agent,
            agent.ask("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, id_=3) as stream,
        ):
            await stream.next()
            await short.gateway.stop()
            last = (await stream.rest())[-1]
        assert (last["id"], last["result"]["resultType"]) == (3, "complete")
        assert last["result"]["_meta"][SUBSCRIPTION] == 3
        await until(lambda: not short.servers["modern"].subscribed, what="nobody listens any more")
