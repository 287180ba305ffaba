"""`portcullis replica forget` beside a sync service: who is alive is not forgotten by mistake."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from bundles.elsewhere import LEASE_SECONDS, RENEWAL_SECONDS
from gateway.cli import main
from gateway.facts import Acknowledgement
from gateway.keys import sha256
from tests.support.clock import Clock
from tests.support.sync import FRONT_DOOR, Sync
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Operator:
    """Somebody at the command line, beside a sync service whose clock stands still."""

    def __init__(self, sync: Sync, clock: Clock) -> None:
        self.sync = sync
        self.clock = clock
        (sync.folder / "sync.token").write_text(sync.control)
        self.config = sync.folder / "operator.yaml"
        self.config.write_text(f"{FRONT_DOOR}sync: {{url: '{sync.url}'}}\nstorage: {{url: '{sync.ledger_url}'}}\n")

    async def forgets(self, *words: str) -> tuple[int, Any]:
        """Run `replica forget` and return its status and what it said."""
        where = ("--config", str(self.config), "--state-dir", str(self.sync.folder), "--json")
        done = await asyncio.to_thread(CliRunner().invoke, main, ["replica", "forget", *words, *where])
        return done.exit_code, json.loads(done.stdout)

    async def names(self) -> list[str]:
        """Return who is counted by the ledger."""
        return [one.name for one in await self.sync.ledger.replicas()]


@pytest.fixture
async def operator(tmp_path: Path) -> AsyncIterator[Operator]:
    clock = Clock(1000)
    async with Sync(tmp_path, monotonic=clock) as sync:
        yield Operator(sync, clock)


async def known(operator: Operator, name: str) -> str:
    """Register a replica and return its token, once sync knows it."""
    token = await operator.sync.token(name)
    await until(lambda: name in operator.sync.service.publisher.replicas.names)
    return token


async def test_a_replica_whose_opa_waits_for_news_is_alive_and_is_not_forgotten(operator: Operator) -> None:
    token = await known(operator, "gw-1")
    etag = (await operator.sync.poll("live", token)).etag
    waiting = asyncio.create_task(operator.sync.poll("live", token, etag, wait=30))
    await until(lambda: operator.sync.service.publisher.replicas.describe("gw-1")["polling"])
    operator.clock.advance(3600)
    status, said = await operator.forgets("gw-1")
    assert (status, said["error"]["code"]) == (1, "may_be_alive")
    assert said["error"]["message"].startswith("gw-1 is alive: its OPA waits for news")
    assert await operator.names() == ["gw-1"]
    assert (await operator.forgets("gw-1", "--force"))[1]["forgotten"] is True
    assert await operator.names() == []
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting


async def test_a_replica_is_forgotten_once_it_has_been_silent_for_a_while(operator: Operator) -> None:
    await known(operator, "gw-1")
    operator.clock.advance(9)
    status, said = await operator.forgets("gw-1")
    assert (status, "may be alive: sync heard of it, or was started, 9 s ago" in said["error"]["message"]) == (1, True)
    operator.clock.advance(1)
    status, said = await operator.forgets("gw-1")
    assert (status, said["forgotten"], said["name"]) == (0, True, "gw-1")
    assert await operator.names() == []


async def test_a_replica_that_another_sync_has_heard_a_moment_ago_is_not_forgotten(operator: Operator) -> None:
    await known(operator, "gw-1")
    await operator.sync.service.follower.look(5)
    token, meta = operator.sync.tokens["gw-1"], await operator.sync.ledger.meta()
    operator.clock.advance(3600)
    for number in (1, 2):
        said = Acknowledgement("gw-1", sha256(token), "another", meta.epoch, meta.revision, (), number)
        await operator.sync.ledger.acknowledge([said], news=True)
        await operator.sync.service.follower.look(5)
    operator.clock.advance(9)
    status, answer = await operator.forgets("gw-1")
    assert (status, "sync heard of it, or was started, 9 s ago" in answer["error"]["message"]) == (1, True)
    operator.clock.advance(1)
    assert (await operator.forgets("gw-1"))[0] == 0


async def test_a_replica_that_left_the_count_by_its_silence_can_be_forgotten_too(operator: Operator) -> None:
    operator.sync.config.write_text(f"{FRONT_DOOR}opa: {{on_stale: deny, max_staleness_seconds: 60}}\n")
    await known(operator, "gw-1")
    await until(lambda: operator.sync.service.publisher.replicas.leaves_after == 60)
    operator.clock.advance(61 + RENEWAL_SECONDS + LEASE_SECONDS)
    (row,) = (await operator.sync.control_get("/replicas"))["replicas"]
    assert (row["name"], row["counted"]) == ("gw-1", False)
    assert (await operator.forgets("gw-1"))[0] == 0


async def test_nobody_can_say_whether_a_replica_is_alive_while_sync_is_away(operator: Operator) -> None:
    await known(operator, "gw-1")
    await operator.sync.stop()
    status, said = await operator.forgets("gw-1")
    assert status == 1
    assert "does not answer" in said["error"]["message"]
    assert "--force forgets it all the same" in said["error"]["message"]
    assert (await operator.forgets("gw-1", "--force"))[0] == 0


async def test_a_name_that_nobody_has_is_not_found_even_by_force(operator: Operator) -> None:
    for words in (["gw-9"], ["gw-9", "--force"]):
        status, said = await operator.forgets(*words)
        assert (status, said["error"]["code"]) == (1, "not_found")
