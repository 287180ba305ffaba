"""Sessions of older servers: one a principal, never shared, replaced when lost, ended when idle (A12)."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from gateway.errors import UpstreamFailed
from gateway.ids import Ref
from gateway.model import CredentialKind, Principal
from gateway.upstream import sessions as rules
from gateway.upstream.pool import Upstreams
from gateway.upstream.sessions import Sessions
from gateway.upstream.target import Target
from tests.support.backend import FakeBackend, failure
from tests.support.upstreams import call_tool
from tests.support.wait import until

CHARGE = Ref.of_tool("payments", "charge")


def principal(subject="user:jo", tenant="tenant:a", issuer="https://idp", kind=CredentialKind.JWT):
    return Principal(subject, kind, tenant, issuer)


@asynccontextmanager
async def behind(backend: FakeBackend, clock=None, **target):
    async with backend.serve():
        options = {"clock": clock} if clock else {}
        upstreams = Upstreams({"payments": Target("payments", backend.url, **target)}, **options)
        try:
            yield upstreams
        finally:
            await upstreams.close()


def call(upstreams, who, arguments=None):
    return call_tool(upstreams, CHARGE, arguments or {}, {}, who)


def session_of(received):
    return received.headers.get("Mcp-Session-Id")


async def test_two_principals_never_meet_in_a_session_however_they_interleave():
    people = [principal("user:jo", "tenant:a"), principal("user:jo", "tenant:b"), principal("user:al", "tenant:a")]

    def echo(params):
        return {"content": [], "who": params["arguments"]["who"]}

    async with behind(server := FakeBackend(era="legacy", sessions=True, sse=True, answer=echo)) as upstreams:

        async def one(number):
            who = number % len(people)
            await asyncio.sleep(random.random() / 100)
            answer = await call(upstreams, people[who], {"who": who})
            assert answer.member("who") == who

        await asyncio.gather(*(one(number) for number in range(200)))
    sessions: dict[int, set[str]] = {}
    for received in server.calls:
        sessions.setdefault(received.message["params"]["arguments"]["who"], set()).add(session_of(received))
    assert all(len(used) == 1 for used in sessions.values())
    assert len(set().union(*sessions.values())) == len(people)
    ids = [received.message["id"] for received in server.calls]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    "other",
    [
        principal(subject="user:al"),
        principal(tenant="tenant:b"),
        principal(tenant=None),
        principal(issuer="https://other"),
        principal(kind=CredentialKind.API_KEY),
    ],
)
async def test_whoever_differs_in_anything_has_a_session_of_their_own(other):
    async with behind(server := FakeBackend(era="legacy", sessions=True)) as upstreams:
        await call(upstreams, principal())
        await call(upstreams, other)
        await call(upstreams, principal())
    first, second, third = map(session_of, server.calls)
    assert first == third != second


async def test_tools_are_listed_in_a_session_of_the_gateways_own():
    async with behind(server := FakeBackend(era="legacy", sessions=True)) as upstreams:
        await upstreams.list_tools("payments")
        await call(upstreams, principal())
        await upstreams.list_tools("payments")
    listed = set(map(session_of, server.of("tools/list")))
    assert len(listed) == 1
    assert listed.isdisjoint(map(session_of, server.calls))


async def test_many_first_calls_of_one_principal_open_one_session():
    async with behind(server := FakeBackend(era="legacy", sessions=True)) as upstreams:
        await asyncio.gather(*(call(upstreams, principal()) for _ in range(10)))
    assert len(server.of("initialize")) == 2
    assert len(set(map(session_of, server.calls))) == 1


async def test_a_session_that_the_server_forgot_is_opened_anew_once():
    async with behind(server := FakeBackend(era="legacy", sessions=True)) as upstreams:
        await call(upstreams, principal())
        server.open_sessions.clear()
        assert not (await call(upstreams, principal())).is_error
        assert not (await call(upstreams, principal())).is_error
        server.open_sessions.clear()
        assert await upstreams.list_tools("payments")
    assert len(server.calls) == 4


async def test_a_server_that_forgets_every_session_is_a_failure_and_not_a_loop():
    async def forget(request, message):
        return failure(None, -32600, "Session not found", 404) if message.get("method") == "tools/call" else None

    async with behind(server := FakeBackend(era="legacy", sessions=True, misbehave=forget)) as upstreams:
        with pytest.raises(UpstreamFailed, match="HTTP 404"):
            await call(upstreams, principal())
    assert len(server.calls) == 2


async def test_idle_sessions_are_ended_when_the_server_is_listed():
    now = [0.0]
    async with behind(server := FakeBackend(era="legacy", sessions=True), clock=lambda: now[0]) as upstreams:
        await call(upstreams, principal("user:jo"))
        now[0] = rules.IDLE_SECONDS - 1
        await call(upstreams, principal("user:al"))
        now[0] = rules.IDLE_SECONDS
        await upstreams.list_tools("payments")
        ended = await until(lambda: [one for one in server.received if one.verb == "DELETE"])
        jo, al = map(session_of, server.calls)
        assert [session_of(one) for one in ended] == [jo]
        assert al in server.open_sessions


async def test_every_session_is_ended_on_the_way_out():
    async with behind(server := FakeBackend(era="legacy", sessions=True)) as upstreams:
        for number in range(5):
            await call(upstreams, principal(f"user:{number}"))
        assert len(server.open_sessions) == 6
        await upstreams.close()
        assert not server.open_sessions


async def test_a_server_without_sessions_shakes_hands_once_for_all():
    async with behind(server := FakeBackend(era="legacy")) as upstreams:
        for number in range(5):
            await call(upstreams, principal(f"user:{number}"))
    assert len(server.of("initialize")) == 1


async def test_a_handshake_that_fails_is_tried_again_by_the_next_call():
    broken = [True]

    async def moody(request, message):
        if message.get("method") == "initialize" and len(server.of("initialize")) > 1 and broken[0]:
            return web.Response(status=503)
        return None

    async with behind(server := FakeBackend(era="legacy", sessions=True, misbehave=moody)) as upstreams:
        await upstreams.list_tools("payments")
        for _ in range(2):
            with pytest.raises(UpstreamFailed, match="HTTP 503"):
                await call(upstreams, principal())
        broken[0] = False
        assert not (await call(upstreams, principal())).is_error


class Office:
    """Opens and ends sessions in memory, to test the bookkeeping alone."""

    def __init__(self, max_sessions):
        self.now, self.opened, self.ended = 0.0, 0, []
        self.sessions = Sessions("payments", self.ended.append, lambda: self.now, max_sessions)

    async def open(self):
        self.opened += 1
        await asyncio.sleep(0)
        return f"session-{self.opened}"

    async def use(self, who):
        with self.seat(who) as seat:
            return await seat.session()

    def seat(self, who):
        return self.sessions.seat(who, self.open)


async def test_the_session_unused_the_longest_makes_room():
    office = Office(max_sessions=2)
    assert [await office.use(who) for who in ("a", "b", "a", "c")] == [
        "session-1",
        "session-2",
        "session-1",
        "session-3",
    ]
    assert office.ended == ["session-2"]
    assert len(office.sessions) == 2


@pytest.mark.parametrize("moment", range(8))
async def test_whoever_comes_at_whatever_moment_of_anothers_opening_gets_that_session(moment):
    office = Office(max_sessions=1)
    first = asyncio.create_task(office.use("a"))
    for _ in range(moment):
        await asyncio.sleep(0)
    assert [await office.use("a"), await first] == ["session-1", "session-1"]
    assert (office.opened, office.ended) == (1, [])


async def test_a_session_in_use_makes_no_room_for_another():
    office = Office(max_sessions=1)
    with office.seat("a") as seat:
        await seat.session()
        with pytest.raises(UpstreamFailed, match="too many sessions"):
            await office.use("b")
        office.now = 10_000.0
        office.sessions.close_idle()
        assert office.ended == []
    assert await office.use("b") == "session-2"


async def test_a_session_lost_twice_at_once_is_replaced_once():
    office = Office(max_sessions=5)
    with office.seat("a") as first, office.seat("a") as second:
        lost = await first.session()
        assert await second.session() == lost
        office.sessions.lost("a", lost)
        assert await first.session() == "session-2"
        office.sessions.lost("a", lost)
        assert await second.session() == "session-2"
