"""Servers that say that their lists have changed: listened to in the gateway's own name, and only where they do."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from gateway.upstream.announced import Heard
from gateway.upstream.pool import Upstreams
from gateway.upstream.target import Target
from tests.support.talker import Talker
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.ids import Kind

ERAS = pytest.mark.parametrize("era", ["modern", "legacy"])


async def quiet(_: Any) -> dict[str, Any]:
    return {}


class Ear:
    """What was told and listed, by name of server."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.kinds: list[frozenset[Kind]] = []
        self.updated: list[tuple[str, str]] = []
        self.listed: list[str] = []
        self.upstreams: Upstreams

    def tell(self, server: str, kinds: frozenset[Kind]) -> None:
        self.told.append(server)
        self.kinds.append(kinds)

    def update(self, server: str, uri: str) -> None:
        self.updated.append((server, uri))

    async def list(self, server: str) -> None:
        self.listed.append(server)
        await self.upstreams.list_tools(server)


@asynccontextmanager
async def heard(era: str, **options: Any) -> AsyncIterator[tuple[Talker, Ear]]:
    """Run a server of one era, and list it once."""
    ear = Ear()
    async with Talker({"quiet": quiet}, frozenset({era}), **options).serve() as server:
        target = {"talker": Target("talker", server.url)}
        ear.upstreams = Upstreams(target, heard=Heard(ear.tell, ear.list, ear.update))
        try:
            await ear.upstreams.list_tools("talker")
            yield server, ear
        finally:
            await ear.upstreams.close()


def attempts(server: Talker) -> int:
    """Return how often the server was asked for such a stream."""
    return len(server.of("subscriptions/listen")) + sum(one.verb == "GET" for one in server.received)


def listened(server: Talker) -> int:
    return len(server.subscribed) + server.listening


@ERAS
async def test_what_a_server_says_is_told_and_has_it_listed(era: str):
    async with heard(era, announces=True) as (server, ear):
        await until(lambda: listened(server) == 1)
        await server.announce()
        await until(lambda: ear.listed)
        assert ear.told == ear.listed == ["talker"]
    assert attempts(server) == 1
    await until(lambda: not listened(server), what="the stream is closed on the way out")


@ERAS
async def test_a_server_that_does_not_declare_it_is_not_listened_to(era: str):
    async with heard(era) as (server, ear):
        await ear.upstreams.list_tools("talker")
    assert attempts(server) == 0


@ERAS
async def test_a_server_that_has_no_such_stream_is_left_alone_until_it_is_listed_again(era: str):
    async with heard(era, announces=True, has_streams=False) as (server, ear):
        await until(lambda: attempts(server) == 1)
        assert not ear.told

        # It says no, and that is that; one that has become another by the next listing is asked again.
        async def asked_again() -> bool:
            await ear.upstreams.list_tools("talker")
            return attempts(server) > 1

        await until(asked_again)


@ERAS
async def test_a_stream_that_ends_is_opened_anew_and_what_was_missed_is_listed(era: str):
    async with heard(era, announces=True) as (server, ear):
        await until(lambda: listened(server) == 1)
        stream = server.subscribed[0] if era == "modern" else next(iter(server.sessions.values())).stream
        await stream.detach()
        await until(lambda: attempts(server) == 2 and listened(server) == 1)
        await until(lambda: ear.listed)
        # Nobody is told of what may not have happened.
        assert not ear.told


async def test_a_session_that_the_server_forgot_is_listened_to_in_the_next():
    async with heard("legacy", announces=True) as (server, ear):
        await until(lambda: listened(server) == 1)
        (first,) = server.sessions.values()
        server.sessions.clear()
        await ear.upstreams.list_tools("talker")
        await until(lambda: any(one.stream.attached.is_set() for one in server.sessions.values()))
        assert first.id not in server.sessions
        await server.announce()
        await until(lambda: ear.told)


@ERAS
async def test_a_watched_resource_is_asked_for_once_and_no_more_when_nobody_watches_it(era: str):
    async with heard(era, resources=["x://a", "x://b"]) as (server, ear):
        ends = [ear.upstreams.watch("talker", uri) for uri in ("x://a", "x://a", "x://b")]
        await until(lambda: server.watched() == {"x://a", "x://b"})
        await server.update("x://a")
        await server.update("x://c")
        await server.update("x://b/1")
        await until(lambda: len(ear.updated) == 2)
        assert ear.updated == [("talker", "x://a"), ("talker", "x://b/1")]
        for end, left in zip(ends, ({"x://a", "x://b"}, {"x://b"}, set()), strict=True):
            assert end is not None
            end()
            await until(lambda left=left: server.watched() == left)
    assert len(server.of("resources/subscribe")) == (2 if era == "legacy" else 0)


async def test_a_resource_of_a_server_that_does_not_say_so_cannot_be_watched():
    async with heard("modern") as (_, ear):
        assert ear.upstreams.watch("talker", "x://a") is None
        assert ear.upstreams.watch("nobody", "x://a") is None


@ERAS
async def test_what_is_watched_is_watched_at_the_server_of_the_next_configuration(era: str):
    async with heard(era, resources=["x://a"]) as (server, ear):
        end = ear.upstreams.watch("talker", "x://a")
        await until(lambda: server.watched() == {"x://a"})
        ear.upstreams.replace({"talker": Target("talker", server.url, timeout_seconds=7)}, "next")
        await ear.upstreams.list_tools("talker")
        ear.upstreams.replace({"talker": Target("talker", server.url, timeout_seconds=8)}, "and the next")
        await ear.upstreams.list_tools("talker")
        listened_to = listened(server)
        assert end is not None
        end()
        await until(lambda: not server.watched())
        assert listened_to >= 1
