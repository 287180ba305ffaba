"""Resources that agents watch, and lists of other kinds that change: told to who may hear it, in either era."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateway import MODERN
from tests.support.talking import LEGACY, talking
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.issuer import Issuer
    from tests.support.streaming import Answer, StreamingAgent
    from tests.support.talker import Talk
    from tests.support.talking import Talking

UPDATED = "notifications/resources/updated"
VERSIONS = pytest.mark.parametrize("version", [MODERN, LEGACY])
SERVERS = pytest.mark.parametrize("server", ["modern", "legacy"])
SECTION = {
    "tool_access": {
        "member": {"tenant:a": {}, "tenant:b": {"access": {"resource": {"deny_list": ["*//secret"]}}}},
    }
}


async def quiet(_: Talk) -> dict[str, Any]:
    return {}


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> AsyncIterator[Talking]:
    folder = tmp_path_factory.mktemp("watching")

    def offers(name: str) -> dict[str, Any]:
        return {"prompts": [f"greet_{name}"], "resources": [f"{name}://index", f"{name}://secret"]}

    async with talking(folder, issuer, {"quiet": quiet}, SECTION, offers=offers, announces=True) as running:
        yield running


class Watchers:
    """Agents that watch resources, each in the way of its era."""

    def __init__(self, stack: AsyncExitStack, world: Talking) -> None:
        self._stack = stack
        self._world = world

    async def watch(
        self, version: str, *uris: str, tenant: str = "tenant:a", lists: tuple[str, ...] = ()
    ) -> tuple[StreamingAgent, Answer]:
        """Return an agent and its stream; of a modern one, after the acknowledgement."""
        agent = await self._stack.enter_async_context(self._world.agent(version, tenant))
        if version == LEGACY:
            await agent.open()
            for uri in uris:
                await subscribed(agent, uri)
            return agent, await self._stack.enter_async_context(agent.listen())
        filter_ = dict.fromkeys(lists, True) | {"resourceSubscriptions": list(uris)}
        asking = agent.ask("subscriptions/listen", {"notifications": filter_})
        stream = await self._stack.enter_async_context(asking)
        acknowledged = await stream.next()
        honoured = acknowledged["params"]["notifications"]
        assert honoured == dict.fromkeys(lists, True) | ({"resourceSubscriptions": list(uris)} if uris else {})
        return agent, stream


async def subscribed(agent: StreamingAgent, uri: str, verb: str = "subscribe") -> Any:
    async with agent.ask(f"resources/{verb}", {"uri": uri}) as answer:
        return await answer.json()


@pytest.fixture
async def watchers(world: Talking) -> AsyncIterator[Watchers]:
    async with AsyncExitStack() as stack:
        yield Watchers(stack, world)
    for server in world.servers.values():
        await until(lambda server=server: not server.watched(), what="nobody watches any more")


async def withdraw(world: Talking, kind: str, name: str, verb: str = "withdraw") -> None:
    key = world.key = world.key or await world.gateway.key()
    path = f"{name.replace('://', '%3A%2F%2F')}/{verb}"
    reply = await world.gateway.admin(path, {"kind": kind, "tenant_id": "tenant:a"}, key=key)
    assert reply.status == 200


@VERSIONS
@SERVERS
async def test_who_watches_a_resource_is_told_that_it_has_changed(
    world: Talking, watchers: Watchers, version: str, server: str
) -> None:
    talker, uri = world.servers[server], f"{server}://index"
    _, stream = await watchers.watch(version, uri)
    _, other = await watchers.watch(version, f"{server}://secret")
    await until(lambda: talker.watched() == {uri, f"{server}://secret"}, what="the server is asked")
    await talker.update(uri)
    told = await stream.next()
    assert (told["method"], told["params"]["uri"]) == (UPDATED, uri)
    assert ("_meta" in told["params"]) is (version == MODERN)
    assert not [event for event in other.seen() if UPDATED.encode() in event.data]


@VERSIONS
async def test_what_lies_under_a_watched_resource_is_told_too(world: Talking, watchers: Watchers, version: str) -> None:
    _, stream = await watchers.watch(version, "modern://index")
    await until(world.servers["modern"].watched)
    await world.servers["modern"].update("modern://index2")
    await world.servers["modern"].update("modern://index")
    assert (await stream.next())["params"]["uri"] == "modern://index"


@VERSIONS
async def test_a_resource_that_was_withdrawn_is_not_told_of_and_once_restored_is(
    world: Talking, watchers: Watchers, version: str
) -> None:
    talker, uri = world.servers["modern"], "modern://index"
    _, stream = await watchers.watch(version, uri, "modern://secret")
    await until(lambda: talker.watched() == {uri, "modern://secret"})
    await withdraw(world, "resource", uri.replace("modern", "modern/modern", 1))
    try:
        await talker.update(uri)
        await talker.update("modern://secret")
        told = await updates(stream)
        assert told == "modern://secret"
    finally:
        await withdraw(world, "resource", uri.replace("modern", "modern/modern", 1), "restore")
    await talker.update(uri)
    assert await updates(stream) == uri


async def updates(stream: Answer) -> str:
    """Return the next resource that is told of; that a list has changed is passed over."""
    while (told := await stream.next())["method"] != UPDATED:
        pass
    uri: str = told["params"]["uri"]
    return uri


@pytest.mark.parametrize("uri", ["modern://secret", "modern://nothing"])
async def test_what_is_not_shown_cannot_be_watched_and_answers_like_what_does_not_exist(
    world: Talking, uri: str
) -> None:
    async with world.agent(LEGACY, "tenant:b") as agent:
        await agent.open()
        refused = await subscribed(agent, uri)
        assert refused["error"] == {"code": -32002, "message": f"Resource not found: {uri}", "data": {"uri": uri}}
    async with (
        world.agent(MODERN, "tenant:b") as agent,
        agent.ask("subscriptions/listen", {"notifications": {"resourceSubscriptions": [uri]}}) as stream,
    ):
        assert (await stream.next())["params"]["notifications"] == {}


async def test_an_older_agent_can_stop_watching_and_begin_while_it_listens(world: Talking, watchers: Watchers) -> None:
    talker = world.servers["legacy"]
    agent, stream = await watchers.watch(LEGACY)
    assert (await subscribed(agent, "legacy://index"))["result"] == {}
    await until(lambda: talker.watched() == {"legacy://index"})
    await talker.update("legacy://index")
    assert await updates(stream) == "legacy://index"
    assert (await subscribed(agent, "legacy://index", "unsubscribe"))["result"] == {}
    await until(lambda: not talker.watched(), what="the server is told so")


async def test_an_older_agent_without_a_session_cannot_watch(world: Talking) -> None:
    async with world.agent(LEGACY) as agent:
        assert (await subscribed(agent, "legacy://index"))["error"]["code"] == -32600


@pytest.mark.parametrize(
    ("kind", "name", "list_"),
    [
        ("prompt", "modern/greet_modern", "prompts"),
        ("resource", "modern/modern://secret", "resources"),
        ("tool", "modern/quiet_modern", "tools"),
    ],
)
@VERSIONS
async def test_a_withdrawal_is_told_as_a_change_of_the_list_of_its_kind_and_of_no_other(
    world: Talking, watchers: Watchers, version: str, kind: str, name: str, list_: str
) -> None:
    every = ("toolsListChanged", "promptsListChanged", "resourcesListChanged")
    _, stream = await watchers.watch(version, lists=every)
    others = tuple(one for one in every if not one.startswith(list_))
    _, deaf = await watchers.watch(MODERN, lists=others)
    for verb in ("withdraw", "restore"):
        await withdraw(world, kind, name, verb)
        assert (await stream.next())["method"] == f"notifications/{list_}/list_changed"
    assert not [event for event in deaf.seen() if b"/list_changed" in event.data]


@SERVERS
@pytest.mark.parametrize("list_", ["prompts", "resources"])
async def test_a_server_that_says_that_a_list_has_changed_is_heard_by_who_sees_it(
    world: Talking, watchers: Watchers, server: str, list_: str
) -> None:
    _, stream = await watchers.watch(MODERN, lists=(f"{list_}ListChanged",))
    await world.servers[server].announce(what=list_)
    assert (await stream.next())["method"] == f"notifications/{list_}/list_changed"
