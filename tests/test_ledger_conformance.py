"""What every ledger does, whatever it is kept in; a new backend joins by a name in BACKENDS and its addresses."""

from __future__ import annotations

import asyncio
import re
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.errors import Unavailable
from gateway.facts import Bundle
from gateway.ledger.connect import open_ledger
from gateway.ledger.values import Admins
from gateway.model import AuditEvent, Credential, Replica, ServerInventory, ToolRef, Withdrawal
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from gateway.ledger import Ledger

BACKENDS = ("sqlite", "postgresql")

NONE = Admins(0)
REFUND, CHARGE = ToolRef("payments", "refund"), ToolRef("payments", "charge")


@pytest.fixture(params=BACKENDS)
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Addresses of ledgers that are not there yet."""
    if request.param == "sqlite":
        return lambda: f"sqlite:///{tmp_path / secrets.token_hex(4)}.db"
    new: Callable[[], str] = request.getfixturevalue("new_postgresql")
    return new


@pytest.fixture
def url(new_url: Callable[[], str]) -> str:
    return new_url()


@pytest.fixture
async def ledger(url: str) -> AsyncIterator[Ledger]:
    opened = await open_ledger(url)
    yield opened
    await opened.close()


def event(type_: str = "ToolWithdrawn", time: int = 1, **more: Any) -> AuditEvent:
    return AuditEvent(id="0190", time=time, type=type_, outcome="success", **more)


def withdrawal(ref: ToolRef = REFUND, tenant: str | None = None, by: str = "user:root", at: int = 5) -> Withdrawal:
    return Withdrawal(ref, tenant, by, at)


def credential(id_: str = "c_1", **more: Any) -> Credential:
    return replace(Credential(id_, f"hash of {id_}", "mcp_12345678", "user:jo", "", None, None, 1, "local:jo"), **more)


async def types(ledger: Ledger) -> list[str]:
    return [one.type for _, one in await ledger.audit()]


async def test_a_bundles_content_has_the_revision_that_recorded_it_until_another_is_recorded(ledger: Ledger):
    first = await ledger.note_bundle("custom", "d1", event("PolicyPublished"))
    assert first == (await ledger.meta()).revision
    assert await ledger.note_bundle("custom", "d1", event("PolicyPublished")) == first
    assert (await ledger.meta()).revision == first
    other = await ledger.note_bundle("policy", "d1")
    second = await ledger.note_bundle("custom", "d2")
    assert first < other < second == (await ledger.meta()).revision
    # What comes back is news again: two contents must never have one revision.
    third = await ledger.note_bundle("custom", "d1")
    assert third > second
    assert await ledger.bundles() == (Bundle("custom", "d1", third), Bundle("policy", "d1", other))
    assert await types(ledger) == ["PolicyPublished"]


async def test_a_new_ledger_has_an_epoch_of_its_own_and_a_revision_above_zero(
    ledger: Ledger, new_url: Callable[[], str]
):
    """Zero is what policy says where data is missing."""
    meta = await ledger.meta()
    assert re.fullmatch(r"[0-9a-f]{32}", meta.epoch)
    assert (meta.revision, meta.config_hash) == (1, None)
    other = await open_ledger(new_url())
    assert (await other.meta()).epoch != meta.epoch
    await other.close()


async def test_what_was_written_is_there_when_the_ledger_is_opened_again(ledger: Ledger, url: str):
    await ledger.withdraw(withdrawal(), event())
    await ledger.add_credential(credential(), event("KeyCreated"))
    before = await ledger.meta()
    await ledger.close()
    again = await open_ledger(url)
    assert await again.meta() == before
    assert await again.withdrawals() == (withdrawal(),)
    assert await again.credentials() == (credential(),)
    assert await types(again) == ["ToolWithdrawn", "KeyCreated"]
    await again.close()


async def test_each_mutation_bumps_the_revision_by_one_and_returns_it(ledger: Ledger):
    inventory = ServerInventory("payments", "d1", ("charge",), 1)
    revisions = [
        await ledger.withdraw(withdrawal(), event()),
        await ledger.add_credential(credential(), event()),
        await ledger.revoke_credential("c_1", "user:root", 2, event(), admins=NONE),
        await ledger.put_inventory(inventory),
        await ledger.put_inventory(replace(inventory, digest="d2")),
        await ledger.put_inventory(replace(inventory, digest="d2", tools=("charge", "refund"))),
        await ledger.register_replica(Replica("gw-1", "h1", 1)),
        await ledger.register_replica(Replica("gw-1", "h2", 1)),
        await ledger.note_config("hash"),
        (await ledger.restore(REFUND, None, event()))[0],
        await ledger.forget_replica("gw-1"),
        (await ledger.renew_epoch((await ledger.meta()).epoch)).revision,
    ]
    assert revisions == list(range(2, 14))
    assert (await ledger.meta()).revision == 13


async def test_what_changes_nothing_bumps_nothing_and_still_returns_a_revision_that_says_so(ledger: Ledger):
    inventory, replica = ServerInventory("payments", "d1", ("charge",), 1), Replica("gw-1", "h1", 1)
    await ledger.withdraw(withdrawal(), event())
    await ledger.put_inventory(inventory)
    await ledger.register_replica(replica)
    await ledger.note_config("hash")
    before = await ledger.meta()
    assert await ledger.withdraw(withdrawal(by="user:other", at=9), event()) == before.revision
    assert await ledger.put_inventory(replace(inventory, updated_at=9)) is None
    assert await ledger.register_replica(replace(replica, registered_at=9)) == before.revision
    assert await ledger.note_config("hash") == before.revision
    assert await ledger.restore(CHARGE, None, event()) == (before.revision, ())
    assert await ledger.revoke_credential("c_none", "user:root", 2, event("KeyRevoked"), admins=NONE) is None
    assert await ledger.forget_replica("gw-2") is None
    assert await ledger.meta() == before
    assert await ledger.withdrawals() == (withdrawal(),)


async def test_an_admin_action_that_found_nothing_to_change_is_recorded_and_a_refused_one_is_not(ledger: Ledger):
    await ledger.withdraw(withdrawal(), event("one"))
    await ledger.withdraw(withdrawal(), event("two"))
    await ledger.restore(CHARGE, None, event("three"))
    await ledger.note_config("hash", event("four"))
    await ledger.note_config("hash", event("five"))
    await ledger.revoke_credential("c_none", "user:root", 2, event("never"), admins=NONE)
    assert await types(ledger) == ["one", "two", "three", "four", "five"]


async def test_withdrawals_of_one_tool_for_one_tenant_another_and_everybody_stand_side_by_side(ledger: Ledger):
    for tenant in ("tenant:b", None, "tenant:a"):
        await ledger.withdraw(withdrawal(tenant=tenant), event())
    await ledger.withdraw(withdrawal(CHARGE), event())
    assert [(one.ref.tool, one.tenant) for one in await ledger.withdrawals()] == [
        ("charge", None),
        ("refund", None),
        ("refund", "tenant:a"),
        ("refund", "tenant:b"),
    ]


async def test_a_restore_for_one_tenant_lifts_only_that_one(ledger: Ledger):
    for tenant in (None, "tenant:a", "tenant:b"):
        await ledger.withdraw(withdrawal(tenant=tenant), event())
    _, lifted = await ledger.restore(REFUND, "tenant:a", event("ToolRestored"))
    assert lifted == (withdrawal(tenant="tenant:a"),)
    assert [one.tenant for one in await ledger.withdrawals()] == [None, "tenant:b"]


async def test_a_restore_for_all_lifts_every_one_of_that_tool_and_the_event_lists_them(ledger: Ledger):
    for tenant in (None, "tenant:a", "tenant:b"):
        await ledger.withdraw(withdrawal(tenant=tenant), event())
    await ledger.withdraw(withdrawal(CHARGE), event())
    _, lifted = await ledger.restore(REFUND, None, event("ToolRestored", target={"id": "payments/refund"}))
    assert [one.tenant for one in lifted] == [None, "tenant:a", "tenant:b"]
    assert await ledger.withdrawals() == (withdrawal(CHARGE),)
    (*_, (_, recorded)) = await ledger.audit()
    assert recorded.target == {"id": "payments/refund", "lifted": [None, "tenant:a", "tenant:b"]}


async def test_a_restore_for_a_tenant_does_not_lift_what_is_withdrawn_for_all(ledger: Ledger):
    await ledger.withdraw(withdrawal(), event())
    assert (await ledger.restore(REFUND, "tenant:a", event()))[1] == ()
    assert await ledger.withdrawals() == (withdrawal(),)


async def test_names_are_compared_exactly(ledger: Ledger):
    await ledger.withdraw(withdrawal(ToolRef("payments", "Refund"), "Tenant:A"), event())
    for ref, tenant in ((REFUND, "Tenant:A"), (ToolRef("payments", "Refund"), "tenant:a"), (REFUND, None)):
        assert (await ledger.restore(ref, tenant, event()))[1] == ()
    assert len(await ledger.withdrawals()) == 1


async def test_a_revoked_key_stays_in_the_list_and_is_not_revoked_twice(ledger: Ledger):
    await ledger.add_credential(credential("c_1"), event())
    await ledger.add_credential(credential("c_2", role="admin", tenant="tenant:a", expires_at=100), event())
    assert await ledger.revoke_credential("c_1", "user:root", 7, event(), admins=NONE)
    assert await ledger.revoke_credential("c_1", "user:other", 8, event(), admins=NONE) is None
    assert await ledger.credentials() == (
        credential("c_1", revoked_at=7, revoked_by="user:root"),
        credential("c_2", role="admin", tenant="tenant:a", expires_at=100),
    )


async def test_an_expired_key_is_no_live_one(ledger: Ledger):
    await ledger.add_credential(credential(expires_at=100), event())
    assert await ledger.revoke_credential("c_1", "user:root", 100, event(), admins=NONE) is None
    assert await ledger.revoke_credential("c_1", "user:root", 99, event(), admins=NONE)


async def test_a_key_whose_hash_is_there_already_is_refused_and_leaves_nothing(ledger: Ledger):
    await ledger.add_credential(credential("c_1"), event("kept"))
    before = await ledger.meta()
    with pytest.raises(Unavailable):
        await ledger.add_credential(credential("c_2", hash="hash of c_1"), event("undone"))
    assert await ledger.meta() == before
    assert (await ledger.credentials(), await types(ledger)) == ((credential("c_1"),), ["kept"])


async def test_inventories_and_replicas_are_kept_by_name_the_newest_each(ledger: Ledger):
    await ledger.put_inventory(ServerInventory("b", "d", (), 1))
    await ledger.put_inventory(ServerInventory("a", "d1", ("x", "ü/\u2028"), 1))
    await ledger.put_inventory(ServerInventory("a", "d2", ("y",), 2))
    await ledger.register_replica(Replica("gw-2", "h", 1))
    await ledger.register_replica(Replica("gw-1", "h1", 1))
    await ledger.register_replica(Replica("gw-1", "h2", 2))
    assert await ledger.inventory() == (ServerInventory("a", "d2", ("y",), 2), ServerInventory("b", "d", (), 1))
    assert await ledger.replicas() == (Replica("gw-1", "h2", 2), Replica("gw-2", "h", 1))


async def test_a_new_epoch_is_another_one_and_the_revision_goes_on(ledger: Ledger):
    before = await ledger.meta()
    after = await ledger.renew_epoch(before.epoch)
    assert after.epoch != before.epoch
    assert after.revision == before.revision + 1
    assert await ledger.meta() == after


async def test_the_configuration_in_force_is_remembered(ledger: Ledger):
    await ledger.note_config("h1")
    await ledger.note_config("h2")
    assert (await ledger.meta()).config_hash == "h2"


FULL = AuditEvent(
    id="0190-x",
    time=1790000000123,
    type="AuthorizationDenied",
    outcome="failure",
    reason="withdrawn",
    tenant="tenant:a",
    actor={"principal": "user:jo\n\u2028", "issuer": None},
    source={"ip": "::1"},
    target={"arguments": {"amount": 2**80, "rate": 0.1}},
    policy={"reasons": [{"code": "withdrawn"}]},
    latency_ms=0.25,
    count=3,
)


async def test_events_come_back_as_they_were_in_order_and_by_pages(ledger: Ledger):
    await ledger.append_audit([FULL, event("second")])
    await ledger.append_audit([])
    await ledger.append_audit([event("third")])
    first = await ledger.audit(limit=2)
    assert [one for _, one in first] == [FULL, event("second")]
    rest = await ledger.audit(limit=2, after=first[-1][0])
    assert [one for _, one in rest] == [event("third")]
    assert await ledger.newest_audit() == rest[0][0]
    assert await ledger.audit(after=rest[0][0]) == ()


async def test_pruning_deletes_only_what_is_older_and_its_numbers_never_come_back(ledger: Ledger):
    assert await ledger.newest_audit() == 0
    await ledger.append_audit([event(time=number) for number in range(5000)])
    newest = await ledger.newest_audit()
    assert await ledger.prune_audit(4990) == 4990
    assert [one.time for _, one in await ledger.audit()] == list(range(4990, 5000))
    assert await ledger.prune_audit(10_000) == 10
    assert await ledger.prune_audit(10_000) == 0
    await ledger.append_audit([event()])
    assert await ledger.newest_audit() == newest + 1


async def test_two_openings_see_each_other_s_commits_at_once(ledger: Ledger, url: str):
    other = await open_ledger(url)
    for number in range(20):
        writer, reader = (ledger, other) if number % 2 else (other, ledger)
        revision = await writer.withdraw(withdrawal(ToolRef("payments", f"t{number}")), event())
        assert (await reader.meta()).revision == revision
        assert len(await reader.withdrawals()) == number + 1
    assert (await other.meta()).epoch == (await ledger.meta()).epoch
    await other.close()


async def test_openings_at_once_of_a_ledger_that_is_not_there_yet_make_one(url: str):
    opened = await asyncio.gather(*(open_ledger(url) for _ in range(6)))
    assert len({(await one.meta()).epoch for one in opened}) == 1
    for one in opened:
        await one.close()


async def test_a_caller_that_is_cancelled_neither_stops_nor_halves_its_mutation(ledger: Ledger):
    """A client that disconnects cancels its request; the commit and its event go through."""
    tools = [ToolRef("payments", f"t{number}") for number in range(50)]
    waiting = [asyncio.create_task(ledger.withdraw(withdrawal(ref), event(str(ref)))) for ref in tools]
    await asyncio.sleep(0)  # each has handed over its work, and none has its answer yet
    for task in waiting:
        task.cancel()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert any(isinstance(one, asyncio.CancelledError) for one in results)

    async def done() -> bool:
        return {one.ref for one in await ledger.withdrawals()} == set(tools)

    await until(done)
    assert sorted(await types(ledger)) == sorted(map(str, tools))
    assert (await ledger.meta()).revision == 51


async def test_closing_finishes_what_was_asked_before_and_refuses_what_comes_after(ledger: Ledger, url: str):
    waiting = [
        asyncio.create_task(ledger.withdraw(withdrawal(ToolRef("payments", f"t{number}")), event()))
        for number in range(20)
    ]
    await asyncio.sleep(0)
    await ledger.close()
    assert sorted(await asyncio.gather(*waiting)) == list(range(2, 22))
    await ledger.close()
    for refused in (ledger.meta, ledger.withdrawals, lambda: ledger.renew_epoch("e"), lambda: ledger.changed(0)):
        with pytest.raises(Unavailable, match="closed"):
            await refused()
    again = await open_ledger(url)
    assert len(await again.withdrawals()) == 20
    await again.close()


@pytest.mark.parametrize("url", ["mysql://x/y", "portcullis.db"])
async def test_a_ledger_of_an_unknown_kind_is_refused(url: str):
    with pytest.raises(Unavailable, match="not supported"):
        await open_ledger(url)
