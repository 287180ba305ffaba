"""Following the ledger: what counts as news, what a restored ledger is met with, and what is known while it is away."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from gateway.errors import Unavailable
from gateway.follow import Follower
from gateway.ids import Ref
from gateway.ledger.connect import open_ledger
from gateway.ledger.values import Admins
from gateway.model import AuditEvent, Credential, Withdrawal
from gateway.pdp.high_water import HighWaterMark
from tests.support.clock import Clock
from tests.support.sync import rewrite
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from pathlib import Path

    from gateway.ledger import Ledger

EVENT = AuditEvent("id", 1, "KeyCreated", "success")


class Index:
    """Keeps what it is told, and what it was told how."""

    def __init__(self) -> None:
        self.told: list[tuple[str, list[str]]] = []
        self.confirmed = 0

    def replace(self, credentials: Iterable[Credential]) -> None:
        self.told.append(("all", [one.id for one in credentials]))

    def put(self, credentials: Iterable[Credential]) -> None:
        self.told.append(("some", [one.id for one in credentials]))

    def confirm(self) -> None:
        self.confirmed += 1


class Replica:
    """A process that follows a ledger."""

    def __init__(self, ledger: Ledger, mark: HighWaterMark, clock: Clock) -> None:
        self.ledger, self.mark, self.index = ledger, mark, Index()
        self.follower = Follower(ledger, self.index, mark, self.hear, clock=clock)
        self.heard = 0

    async def hear(self) -> None:
        self.heard += 1


Replicas = "Callable[..., Awaitable[Replica]]"


@pytest.fixture
async def replica(ledger_url: str, tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Replica]]]:
    async with contextlib.AsyncExitStack() as stack:

        async def start(name: str = "gw-1", clock: Clock | None = None) -> Replica:
            ledger = await open_ledger(ledger_url, name)
            stack.push_async_callback(ledger.close)
            mark = HighWaterMark(tmp_path / f"{name}.json")
            stack.push_async_callback(mark.close)
            return Replica(ledger, mark, clock or Clock(1000))

        yield start


def key(id_: str) -> Credential:
    return Credential(id_, f"{id_:0>64}", "mcp_", "user:jo", "", None, None, 1, "local:jo")


def withdrawal(tool: str = "refund") -> Withdrawal:
    return Withdrawal(Ref.of_tool("payments", tool), None, "user:root", 1)


def decided(one: Replica, epoch: str, revision: int) -> None:
    one.mark.admit(epoch, revision, since=one.mark.value)


async def test_all_credentials_are_read_once_and_after_that_those_that_changed(replica: Any):
    one = await replica()
    await one.ledger.add_credential(key("c_1"), EVENT)
    await one.follower.refresh()
    await one.follower.refresh()
    await one.ledger.withdraw(withdrawal(), EVENT)
    await one.follower.refresh()
    await one.ledger.add_credential(key("c_2"), EVENT)
    await one.ledger.revoke_credential("c_1", "user:root", 2, EVENT, admins=Admins(0))
    await one.follower.refresh()
    await one.ledger.renew_epoch(one.follower.epoch)
    await one.follower.refresh()
    assert one.index.told == [("all", ["c_1"]), ("some", ["c_2", "c_1"]), ("all", ["c_1", "c_2"])]
    assert one.index.confirmed == 5


async def test_what_another_process_commits_arrives_without_being_asked_for(replica: Any):
    one, other = await replica("gw-1"), await replica("gw-2")
    await one.follower.refresh()
    following = asyncio.create_task(one.follower.run())
    await other.ledger.add_credential(key("c_1"), EVENT)
    await until(lambda: one.index.told[-1] == ("some", ["c_1"]))
    following.cancel()
    await asyncio.wait({following})


RESTORED = {
    "behind in its epoch": "update meta set revision = 2",
    "back in an epoch that was left": "update meta set epoch = 'first', revision = 50",
}


@pytest.mark.parametrize("restored", RESTORED)
async def test_replicas_that_run_on_while_the_ledger_is_restored_agree_on_one_new_epoch(
    replica: Any, ledger_url: str, restored: str
):
    both = [await replica("gw-1"), await replica("gw-2")]
    rewrite(ledger_url, "update meta set epoch = 'first'")
    for one in both:
        await one.follower.refresh()
    await both[0].ledger.renew_epoch("first")
    for number in range(3):
        await both[0].ledger.withdraw(withdrawal(f"t{number}"), EVENT)
    for one in both:
        await one.follower.refresh()
    second = both[0].follower.epoch
    rewrite(ledger_url, RESTORED[restored])
    following = [asyncio.create_task(one.follower.run()) for one in both]
    await until(lambda: {one.follower.epoch for one in both}.isdisjoint({"first", second}))
    await until(lambda: both[0].follower.epoch == both[1].follower.epoch)
    for task in following:
        task.cancel()
    await asyncio.wait(following)
    agreed = await both[0].ledger.meta()
    for one in (*both, *both):
        await one.follower.refresh()
    assert {one.follower.epoch for one in both} == {agreed.epoch}
    assert await both[0].ledger.meta() == agreed


async def test_replicas_that_start_on_a_restored_ledger_agree_by_what_they_had_decided(replica: Any, ledger_url: str):
    """Each knows by its own mark; the one whose mark is lower, or which has none, follows."""
    high, low, new = await replica("gw-1"), await replica("gw-2"), await replica("gw-3")
    meta = await high.ledger.meta()
    decided(high, meta.epoch, 50)
    decided(low, meta.epoch, 1)
    for one in (low, new, high, low, new, high):
        await one.follower.refresh()
    assert high.follower.epoch == low.follower.epoch == new.follower.epoch != meta.epoch
    assert (await high.ledger.meta()).revision == 2


async def test_of_two_that_find_the_ledger_restored_at_the_same_moment_one_draws_the_epoch(replica: Any):
    both = [await replica("gw-1"), await replica("gw-2")]
    meta = await both[0].ledger.meta()
    for one in both:
        decided(one, meta.epoch, 50)
    await asyncio.gather(*(one.follower.refresh() for one in both))
    for one in both:
        await one.follower.refresh()
    assert both[0].follower.epoch == both[1].follower.epoch
    assert (await both[0].ledger.meta()).revision == meta.revision + 1


async def test_while_the_ledger_is_away_what_was_read_stays_and_its_age_grows(replica: Any, ledger_url: str):
    clock = Clock(1000)
    one = await replica(clock=clock)
    await one.follower.refresh()
    clock.advance(3)
    assert one.follower.unconfirmed_seconds == 3
    epoch = one.follower.epoch
    rewrite(ledger_url, "alter table meta rename to away")
    for _ in range(2):
        with pytest.raises(Unavailable):
            await one.follower.refresh()
        clock.advance(10)
    assert (one.follower.reachable, one.follower.unconfirmed_seconds, one.follower.epoch) == (False, 23, epoch)
    assert one.index.confirmed == 1
    following = asyncio.create_task(one.follower.run())
    rewrite(ledger_url, "alter table away rename to meta")
    await until(lambda: one.follower.reachable)
    assert one.follower.unconfirmed_seconds == 0
    following.cancel()
    await asyncio.wait({following})
