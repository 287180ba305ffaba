"""What servers are told of each caller in headers: of whose tenant and who it is, on every request made for it, and of
no other caller ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.backend import FakeBackend
from tests.support.gateway import MODERN, Portcullis
from tests.support.talking import LEGACY, Talking, talking
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.backend import Received
    from tests.support.issuer import Issuer
    from tests.support.streaming import StreamingAgent
    from tests.support.talker import Talk, Talker

GO = asyncio.Event()
TOKEN = {"progressToken": "t"}
SECTION = {
    "headers": {"X-Tenant": "${tenant}", "X-Who": "${principal}", "X-Plan": "basic", "User-Agent": "for ${tenant}"},
    "tool_access": {"member": {"tenant:a": {}, "tenant:b": {"headers": {"x-plan": "gold", "X-Desk": "b/${tenant}"}}}},
}
OF_A = {"X-Tenant": "tenant:a", "X-Who": "user:jo", "X-Plan": "basic", "User-Agent": "for tenant:a"}
OF_B = {"X-Tenant": "tenant:b", "X-Who": "user:J%C3%B6rg%20%C3%98", "X-Plan": "gold", "User-Agent": "for tenant:b"}
TOLD = {"tenant:a": OF_A, "tenant:b": OF_B | {"X-Desk": "b/tenant:b"}}
NOBODY = {"X-Plan": "basic", "User-Agent": "portcullis"}
SUBJECTS = {"tenant:a": "jo", "tenant:b": "Jörg Ø"}


async def who(talk: Talk) -> dict[str, Any]:
    return {"structuredContent": {"session": talk.session.id if talk.session else None, **told(talk.request.headers)}}


async def polled(talk: Talk) -> dict[str, Any]:
    """Say something, hang up, and answer once its client has come back."""
    await talk.progress(0)
    await talk.hang_up()
    await talk.back()
    return {}


async def asks(talk: Talk) -> dict[str, Any]:
    """Ask, hang up while a person thinks, and answer with what was answered."""
    answer = asyncio.ensure_future(talk.ask("elicitation/create", message="Who?", requestedSchema={}))
    await GO.wait()
    await talk.hang_up()
    return {"structuredContent": (await answer)["result"]}


async def waits(talk: Talk) -> dict[str, Any]:
    await talk.progress(0)
    await asyncio.Event().wait()
    return {}


def told(headers: Any) -> dict[str, str]:
    """Return what of the headers tells of a caller; one that came twice has both values."""
    names = ("X-Tenant", "X-Who", "X-Plan", "X-Desk", "User-Agent")
    return {name: ", ".join(headers.getall(name)) for name in names if name in headers}


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> AsyncIterator[Talking]:
    tools = {"who": who, "polled": polled, "asks": asks, "waits": waits}
    folder = tmp_path_factory.mktemp("told")
    async with talking(folder, issuer, tools, SECTION, resumable=True) as running:
        yield running


def agent_of(world: Talking, tenant: str, version: str) -> StreamingAgent:
    return world.agent(version, tenant, SUBJECTS[tenant])


@pytest.mark.parametrize("version", [MODERN, LEGACY])
@pytest.mark.parametrize("server", ["modern", "legacy", "both"])
async def test_each_of_two_tenants_interleaved_is_told_of_on_its_own_calls(
    world: Talking, server: str, version: str
) -> None:
    async with agent_of(world, "tenant:a", version) as a, agent_of(world, "tenant:b", version) as b:
        agents = {"tenant:a": a, "tenant:b": b}
        if version == LEGACY:
            await asyncio.gather(a.open(), b.open())
        order = list(agents) * 8
        replies = await asyncio.gather(*(agents[one].result(f"who_{server}") for one in order))
        heard = [dict(reply["result"]["structuredContent"]) for reply in replies]
        sessions = {(one, found.pop("session")) for one, found in zip(order, heard, strict=True)}
        assert heard == [TOLD[one] for one in order]
        # Who shares a session is told of alike.
        assert len(sessions) == len({tenant for tenant, _ in sessions}) == 2


async def everything(world: Talking, tenant: str) -> str:
    """Do all that is ever done in a session at an older server, and return the server's id of it."""
    server = world.servers["legacy"]
    async with agent_of(world, tenant, LEGACY) as agent:
        await agent.open()
        async with agent.ask("logging/setLevel", {"level": "info"}) as answer:
            assert answer.status == 200
        found = (await agent.result("who_legacy"))["result"]["structuredContent"]
        session: str = found["session"]
        async with agent.call("polled_legacy", _meta=TOKEN) as answer:
            await answer.rest()
        async with agent.listen(answer.events[-1].id) as rest:
            assert "result" in (await rest.rest())[-1]
        async with agent.call("asks_legacy") as answer:
            question = await answer.next()
            GO.set()
            assert await answer.next() is None
        assert await agent.reply(question["id"], result={"action": "cancel"}) == 202
        async with agent.listen():
            await until(lambda: any(one.verb == "GET" for one in in_session(server, session)))
        async with agent.call("waits_legacy", id_="w", _meta=TOKEN) as answer:
            await answer.next()
            await agent.tell("notifications/cancelled", requestId="w")
            await until(lambda: "notifications/cancelled" in methods(server, session))
        assert await agent.tell("notifications/roots/list_changed") == 202
        await until(lambda: "notifications/roots/list_changed" in methods(server, session))
        await agent.delete()
        await until(lambda: session in server.ended)
    return session


def in_session(server: Talker, session: str) -> list[Received]:
    return [one for one in server.received if one.headers.get("Mcp-Session-Id") == session]


def methods(server: Talker, session: str) -> list[str]:
    return [one.method or ("an answer" if one.body else one.verb) for one in in_session(server, session)]


async def test_every_request_of_a_session_from_handshake_to_goodbye_says_whose_it_is(world: Talking) -> None:
    GO.clear()
    server = world.servers["legacy"]
    server.received.clear()
    tenants = list(TOLD)
    sessions = await asyncio.gather(*(everything(world, tenant) for tenant in tenants))
    for tenant, session in zip(tenants, sessions, strict=True):
        assert {
            "notifications/initialized", "logging/setLevel", "tools/call", "GET", "an answer",
            "notifications/cancelled", "notifications/roots/list_changed", "DELETE",
        } <= set(methods(server, session))  # fmt: skip
        assert [told(one.headers) for one in in_session(server, session)] == [TOLD[tenant]] * len(
            in_session(server, session)
        )
    hands = [told(one.headers) for one in server.of("initialize")]
    assert all(told_of in hands for told_of in TOLD.values())


@pytest.mark.parametrize("name", ["modern", "legacy"])
async def test_the_gateway_s_own_errands_tell_of_nobody(world: Talking, name: str) -> None:
    server = world.servers[name]
    server.received.clear()
    await world.gateway.kill()
    await world.gateway.start()
    await until(lambda: server.of("tools/list"))
    assert {one.method for one in server.received} >= {"server/discover", "tools/list"}
    assert [told(one.headers) for one in server.received] == [NOBODY] * len(server.received)


@pytest.mark.parametrize(("era", "sessions"), [("modern", False), ("legacy", True), ("legacy", False)])
async def test_a_caller_without_a_tenant_reaches_no_server_that_is_told_each_caller_s(
    tmp_path_factory: pytest.TempPathFactory, era: str, sessions: bool
) -> None:
    wants, knows = FakeBackend(era=era, sessions=sessions), FakeBackend(era=era, sessions=sessions)
    async with wants.serve() as told_of, knows.serve() as other:
        config = {
            "mcp_servers": {
                "wants": {"mode": "remote", "endpoint": told_of.url, "headers": {"X-Tenant": "${tenant}"}},
                "other": {"mode": "remote", "endpoint": other.url, "headers": {"X-Who": "${principal}"}},
            }
        }
        async with Portcullis(tmp_path_factory.mktemp("egress"), config) as gateway:
            reply = await gateway.call("wants__charge")
            assert "is told each caller's tenant, and this caller has none" in reply.body.decode()
            assert told_of.passed_on == []
            (event,) = await gateway.events(source__request_id=reply.headers["X-Request-Id"])
            assert (event["type"], event["outcome"], event["target"]["id"]) == ("ToolCalled", "error", "wants/charge")
            assert "result" in (await gateway.call("other__charge")).json
            assert other.calls[-1].headers["X-Who"] == "anonymous"
