"""Several syncs on one ledger, each with a replica of its own: each tells of both, and never more than is so."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import pytest

from bundles.elsewhere import LEASE_SECONDS, RENEWAL_SECONDS
from gateway.facts import Replica
from gateway.ledger.connect import SQLITE
from gateway.model import BUNDLES
from tests.support.clock import Clock
from tests.support.sync import FRONT_DOOR, Sync, inventory, rewrite
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DENIES = f"{FRONT_DOOR}opa: {{on_stale: deny, max_staleness_seconds: 60}}\n"
BOTH = (["gw-1", "gw-2"], ["gw-1", "gw-2"])
ONLY_2 = (["gw-2"], ["gw-1", "gw-2"])
MUTE_1 = {
    True: "create trigger mute before insert on acknowledgement when new.replica = 'gw-1'"
    " begin select raise(abort, 'mute'); end",
    False: "create function mute() returns trigger language plpgsql as 'begin raise ''mute''; end';"
    "create trigger mute before insert on acknowledgement for each row when (new.replica = 'gw-1')"
    " execute function mute()",
}


class Opa:
    """Polls a sync for every bundle as OPA does, and names what it has; of `stuck` ones it takes nothing any more."""

    def __init__(self, sync: Sync, replica: str, *stuck: str) -> None:
        self.sync = sync
        self.replica = replica
        self.has: dict[str, str | None] = {}
        self.stuck = set(stuck)
        self._polls: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        token = await self.sync.token(self.replica)
        self._polls = [asyncio.create_task(self._poll(name, token)) for name in BUNDLES]
        return self

    async def __aexit__(self, *_: object) -> None:
        for poll in self._polls:
            poll.cancel()
        await asyncio.gather(*self._polls, return_exceptions=True)

    async def _poll(self, name: str, token: str) -> None:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                polled = await self.sync.poll(name, token, self.has.get(name), wait=30)
                await until(lambda: name not in self.stuck, 60)
                self.has[name] = polled.etag or self.has.get(name)
            await asyncio.sleep(0.01)


class Pair:
    """Two syncs on one ledger, each with an OPA, and one clock for both."""

    def __init__(self, one: Sync, two: Sync, opa: Opa, clock: Clock) -> None:
        self.one, self.two, self.opa, self.clock = one, two, opa, clock

    async def pass_by(self, seconds: float, renewing: tuple[str, ...] = ()) -> None:
        """Let time pass, and have both syncs take notice; those `renewing` are waited for to be heard of anew."""
        while seconds > 0:
            self.clock.advance(min(seconds, RENEWAL_SECONDS))
            seconds -= RENEWAL_SECONDS
            running = [sync for sync in (self.one, self.two) if sync.running]
            for sync in running:
                sync.service.publisher.recount()
            for replica, listener in (("gw-1", self.two), ("gw-2", self.one)):
                if replica in renewing:
                    await until(lambda one=replica, sync=listener: self._heard_now(one, sync))
            for sync in running:
                await sync.service.follower.look(5)

    async def _heard_now(self, replica: str, listener: Sync) -> bool:
        await listener.service.follower.look(5)
        return listener.service.publisher.replicas.elsewhere.heard(replica) == self.clock.now


async def says(sync: Sync, revision: int, expected: tuple[list[str], list[str]]) -> None:
    """Wait until that is what a sync says of a revision."""

    async def it_does() -> bool:
        return await sync.applied(revision, wait=0) == expected

    await until(it_does, what=f"{expected} for r{revision}")


async def said_by(sync: Sync, replica: str) -> bool:
    """Say whether it is this sync that has said last what a replica has applied."""
    boot = sync.service.publisher.boot
    return any((one.replica, one.sync) == (replica, boot) for one in await sync.ledger.acknowledgements())


async def newest(sync: Sync) -> int:
    return (await sync.ledger.meta()).revision


@pytest.fixture
async def pair(tmp_path: Path, ledger_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    config, clock = getattr(request, "param", FRONT_DOOR), Clock(1_790_000_000)

    def sync(name: str) -> Sync:
        return Sync(tmp_path / name, config, now=clock, monotonic=clock, ledger_url=ledger_url)

    async with sync("one") as one, sync("two") as two, Opa(one, "gw-1") as opa, Opa(two, "gw-2"):
        started = Pair(one, two, opa, clock)
        # What is there already when a sync starts is believed once it is said again.
        await started.pass_by(RENEWAL_SECONDS, renewing=("gw-1", "gw-2"))
        for each in (one, two):
            await says(each, await newest(each), BOTH)
        yield started


async def test_each_sync_tells_of_the_replicas_of_both(pair: Pair) -> None:
    for tool, sync, other in (("refund", pair.one, pair.two), ("charge", pair.two, pair.one)):
        revision = await sync.withdraw(tool)
        assert await sync.applied(revision) == await other.applied(revision) == BOTH


async def test_what_another_syncs_replica_has_not_activated_is_not_applied_there_until_it_has(pair: Pair) -> None:
    pair.opa.stuck.add("live")
    revision = await pair.two.withdraw("refund")
    assert await pair.two.applied(revision, wait=0.3) == ONLY_2
    pair.opa.stuck.clear()
    assert await pair.two.applied(revision) == BOTH


async def test_a_change_that_one_replica_lacks_holds_up_that_change_alone(pair: Pair) -> None:
    pair.opa.stuck.add("tenants")
    listed = await pair.two.ledger.put_inventory(inventory("payments", "charge", "another"))
    assert listed is not None
    # Published before the next one: what is published together is applied together.
    await until(lambda: min(each.service.publisher.revision for each in (pair.one, pair.two)) >= listed)
    assert await pair.two.applied(await pair.two.withdraw("refund")) == BOTH
    assert await pair.two.applied(listed, wait=0.1) == ONLY_2
    pair.opa.stuck.clear()
    assert await pair.two.applied(listed) == BOTH


async def test_an_opa_that_comes_back_with_less_is_not_said_to_have_what_it_had(pair: Pair) -> None:
    revision = await newest(pair.two)
    await pair.opa.__aexit__()
    pair.opa.has.clear()
    pair.opa.stuck.update(BUNDLES)
    async with pair.opa:
        await says(pair.two, revision, ONLY_2)
        pair.opa.stuck.clear()
        assert await pair.two.applied(revision) == BOTH


async def test_what_a_sync_that_ended_has_said_counts_for_a_moment_only(pair: Pair) -> None:
    revision = await newest(pair.two)
    await pair.one.stop()
    assert await pair.two.applied(await pair.two.withdraw("refund"), wait=0.1) == ONLY_2
    await pair.pass_by(LEASE_SECONDS + 1)
    assert await pair.two.applied(revision, wait=0) == ONLY_2


async def test_a_sync_that_starts_believes_nothing_that_it_has_not_seen_being_said(pair: Pair) -> None:
    revision = await newest(pair.two)
    await pair.one.stop()
    await pair.two.restart()
    await says(pair.two, revision, ONLY_2)
    await pair.one.start()
    await says(pair.two, revision, BOTH)


async def test_a_sync_goes_on_saying_that_it_hears_its_replica(pair: Pair) -> None:
    revision = await newest(pair.two)
    await pair.pass_by(10 * LEASE_SECONDS, renewing=("gw-1", "gw-2"))
    assert await pair.two.applied(revision, wait=0) == BOTH
    found: dict[str, Any] = (await pair.two.control_get("/replicas"))["replicas"][0]
    said = {key: found[key] for key in ("name", "elsewhere", "applied", "silent_seconds", "polling")}
    assert said == {"name": "gw-1", "elsewhere": True, "applied": revision, "silent_seconds": 0, "polling": []}


async def test_a_replica_that_went_to_another_sync_is_judged_by_that_one(pair: Pair) -> None:
    token, revision = await pair.one.token("gw-1"), await newest(pair.one)
    pair.two.tokens["gw-1"] = token
    await pair.opa.__aexit__()
    await until(lambda: not pair.one.service.publisher.describe("gw-1")["polling"])
    # At once, for as long as a sync takes a replica for its own either may be the last to say what it has.
    pair.clock.advance(RENEWAL_SECONDS + 1)
    async with Opa(pair.two, "gw-1", *BUNDLES) as moved:
        await until(lambda: said_by(pair.two, "gw-1"))
        await pair.one.service.follower.look(5)
        await says(pair.one, revision, ONLY_2)
        moved.stuck.clear()
        for sync in (pair.one, pair.two):
            await says(sync, revision, BOTH)


async def test_a_name_that_another_pair_has_taken_has_nothing_of_what_the_old_one_had(pair: Pair) -> None:
    before = await newest(pair.two)
    revision = await pair.two.ledger.register_replica(Replica("gw-1", "another", 1))
    for sync in (pair.one, pair.two):
        await says(sync, before, ONLY_2)
        await says(sync, revision, ONLY_2)


async def test_where_every_replica_polls_one_sync_nothing_is_written(tmp_path: Path, ledger_url: str) -> None:
    async with Sync(tmp_path, ledger_url=ledger_url) as sync, Opa(sync, "gw-1"), Opa(sync, "gw-2"):
        await says(sync, await newest(sync), BOTH)
        before = await sync.ledger.acknowledgements()
        assert await sync.applied(await sync.withdraw("refund")) == BOTH
        assert await sync.ledger.acknowledgements() == before


@pytest.mark.parametrize("pair", [DENIES], indirect=True, ids=["deny"])
async def test_another_syncs_replica_counts_until_it_must_be_denying_for_want_of_news(pair: Pair) -> None:
    await pair.pass_by(120, renewing=("gw-1",))
    await pair.one.stop()
    await pair.pass_by(60 + RENEWAL_SECONDS + LEASE_SECONDS)
    revision = await pair.two.withdraw("refund")
    assert await pair.two.applied(revision, wait=0.1) == ONLY_2
    await pair.pass_by(1)
    assert await pair.two.applied(revision) == (["gw-2"], ["gw-2"])


@pytest.mark.parametrize("pair", [DENIES], indirect=True, ids=["deny"])
async def test_a_sync_that_can_tell_nobody_lets_its_replicas_data_grow_old(pair: Pair, ledger_url: str) -> None:
    rewrite(ledger_url, MUTE_1[ledger_url.startswith(SQLITE)])
    await pair.pass_by(RENEWAL_SECONDS, renewing=("gw-2",))
    await until(lambda: pair.one.service.publisher.replicas.mute)
    assert "other syncs cannot be told" in str(pair.one.service.follower.health()["problems"])
    silent_since = pair.clock.now
    await pair.pass_by(LEASE_SECONDS, renewing=("gw-2",))
    token = await pair.one.token("gw-1")
    last = (await pair.one.poll("live", token)).data["generated_at"]
    assert silent_since < last <= silent_since + LEASE_SECONDS
    # From here on it is as old as the other sync takes it to be, also where it is news.
    await pair.pass_by(30, renewing=("gw-2",))
    revision = await pair.two.withdraw("refund")
    await says(pair.one, revision, BOTH)
    assert (await pair.one.poll("live", token)).data["generated_at"] == last
    # One that cannot tell does not take the others' silence for their end either.
    await pair.two.stop()
    await pair.pass_by(300)
    assert pair.one.service.publisher.replicas.counted() == ["gw-1", "gw-2"]
