"""Keys and tokens that change elsewhere count here, each at the cost of what it changed (threat A28)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway import keys
from gateway.audit import event, now_ms
from gateway.authn import CredentialIndex
from gateway.errors import InvalidCredential, Unavailable
from gateway.follow import Follower
from gateway.ids import Ref
from gateway.ledger.connect import open_ledger
from gateway.ledger.values import Admins
from gateway.model import Credential, CredentialKind, Withdrawal
from gateway.pdp.high_water import HighWaterMark
from tests.support.clock import Clock
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.ledger import Ledger

NOBODY = Admins(1)


class Watched:
    """A ledger that counts which credentials were read from it, and that may be away."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.away = False
        self.read: list[tuple[str, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def meta(self) -> Any:
        """Say where the ledger stands, if it is there."""
        if self.away:
            raise Unavailable("away")
        return await self._ledger.meta()

    async def credentials(self, since: int = 0) -> tuple[Credential, ...]:
        """Answer, and note what was answered."""
        found = await self._ledger.credentials(since)
        self.read.append(tuple(one.id for one in found))
        return found


async def nothing() -> None:
    """Do nothing about a new revision."""


class Rig:
    """A ledger, and what follows it."""

    def __init__(self, ledger: Ledger, mark: HighWaterMark) -> None:
        self.ledger = ledger
        self.watched = Watched(ledger)
        self.clock = Clock(0.0)
        self.index = CredentialIndex(clock=self.clock)
        self.follower = Follower(self.watched, self.index, mark, nothing)  # type: ignore[arg-type]
        self.secrets: dict[str, str] = {}

    async def add(self, id_: str, **more: Any) -> None:
        """Add a key as another process does."""
        secret = self.secrets[id_] = keys.mint()
        hashed, shown = keys.sha256(secret), keys.shown(secret)
        made = Credential(id_, hashed, shown, f"service:{id_}", "", "viewer", None, now_ms(), "tests", **more)
        await self.ledger.add_credential(made, event("KeyCreated", "success"))

    async def revoke(self, id_: str) -> None:
        """Revoke a key as another process does."""
        await self.ledger.revoke_credential(id_, "tests", now_ms(), event("KeyRevoked", "success"), admins=NOBODY)

    def known(self, id_: str) -> str:
        """Say what becomes of a key that is presented now."""
        try:
            found = self.index.find(keys.digest(self.secrets[id_]), now_ms() / 1000)
        except InvalidCredential:
            return "refused"
        return found.id if found else "unknown"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    ledger = await open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    rig = Rig(ledger, HighWaterMark(tmp_path / "mark.json"))
    for number in range(3):
        await rig.add(f"c_{number}")
    await rig.follower.refresh()
    yield rig
    await ledger.close()


async def test_only_the_credentials_that_changed_are_read(rig: Rig) -> None:
    assert rig.watched.read == [("c_0", "c_1", "c_2")]
    await rig.follower.refresh()
    assert len(rig.watched.read) == 1
    await rig.revoke("c_1")
    await rig.follower.refresh()
    await rig.add("c_3")
    await rig.follower.refresh()
    assert rig.watched.read[1:] == [("c_1",), ("c_3",)]
    assert [rig.known(f"c_{number}") for number in range(4)] == ["c_0", "refused", "c_2", "c_3"]


async def test_a_mutation_of_other_things_reads_no_credentials(rig: Rig) -> None:
    withdrawal = Withdrawal(Ref.of_tool("payments", "refund"), None, "user:root", now_ms())
    await rig.ledger.withdraw(withdrawal, event("ToolWithdrawn", "success"))
    await rig.follower.refresh()
    assert rig.watched.read[1:] == [()]


async def test_a_rotated_key_has_its_new_end_and_its_successor_is_known(rig: Rig) -> None:
    secret = rig.secrets["c_9"] = keys.mint()
    old = next(one for one in await rig.ledger.credentials() if one.id == "c_0")
    new = replace(old, id="c_9", hash=keys.sha256(secret), prefix=keys.shown(secret))
    await rig.ledger.rotate_credential("c_0", new, now_ms() - 1, event("KeyRotated", "success"))
    await rig.follower.refresh()
    assert (rig.known("c_0"), rig.known("c_9")) == ("refused", "c_9")


async def test_a_ledger_with_a_new_epoch_is_read_whole(rig: Rig) -> None:
    await rig.ledger.renew_epoch((await rig.ledger.meta()).epoch)
    await rig.follower.refresh()
    assert rig.watched.read[1:] == [("c_0", "c_1", "c_2")]
    assert rig.follower.epoch == (await rig.ledger.meta()).epoch


async def test_what_was_read_last_stays_in_force_while_the_ledger_is_away_and_grows_old(rig: Rig) -> None:
    rig.clock.advance(10)
    await rig.follower.refresh()
    assert rig.index.age == 0
    rig.watched.away = True
    rig.clock.advance(10)
    with pytest.raises(Unavailable):
        await rig.follower.refresh()
    assert (rig.index.age, rig.follower.reachable, rig.known("c_0")) == (10, False, "c_0")
    rig.watched.away = False
    await rig.follower.refresh()
    assert (rig.index.age, rig.follower.reachable) == (0, True)


async def test_a_revocation_taken_elsewhere_counts_here_and_an_outage_is_survived(rig: Rig) -> None:
    following = asyncio.create_task(rig.follower.run())
    try:
        await rig.revoke("c_0")
        await until(lambda: rig.known("c_0") == "refused", what="the revocation counts")
        rig.watched.away = True
        await rig.revoke("c_1")
        await until(lambda: not rig.follower.reachable, what="the outage is noticed")
        assert rig.known("c_1") == "c_1"
        rig.watched.away = False
        await until(lambda: rig.known("c_1") == "refused", what="the missed revocation counts")
        assert rig.follower.reachable
    finally:
        following.cancel()


async def test_refreshing_twice_at_once_puts_nothing_old_in_the_place_of_anything_new(rig: Rig) -> None:
    await rig.revoke("c_2")
    await asyncio.gather(*(rig.follower.refresh() for _ in range(5)))
    assert rig.known("c_2") == "refused"
    assert rig.watched.read[1:] == [("c_2",)]


async def test_the_kind_of_a_credential_survives_the_ledger(rig: Rig) -> None:
    await rig.add("c_7", kind=CredentialKind.TENANT_TOKEN, tools=("payments/*",))
    await rig.follower.refresh()
    found = rig.index.find(keys.digest(rig.secrets["c_7"]), now_ms() / 1000)
    assert found is not None
    assert (found.kind, found.scope) == (CredentialKind.TENANT_TOKEN, keys.scope_of(["payments/*"]))
