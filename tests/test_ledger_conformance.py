"""What every ledger does, whatever it is kept in; a new backend joins by its addresses in conftest.py."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.errors import LastAdmin, Unavailable
from gateway.facts import Acknowledgement, Bundle, Replica, ServerInventory
from gateway.ids import Kind, Ref
from gateway.ledger.chain import Verification
from gateway.ledger.connect import open_ledger
from gateway.ledger.values import Admins, AuditFilter, Binding
from gateway.model import AuditEvent, Credential, CredentialKind, Withdrawal
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from gateway.ledger import Ledger

    Opened = Callable[..., Awaitable[Ledger]]

NONE = Admins(0)
REFUND, CHARGE = Ref.of_tool("payments", "refund"), Ref.of_tool("payments", "charge")


@pytest.fixture
async def ledger(ledger_url: str) -> AsyncIterator[Ledger]:
    opened = await open_ledger(ledger_url)
    yield opened
    await opened.close()


@pytest.fixture
async def opened(ledger_url: str) -> AsyncIterator[Opened]:
    """Open the same ledger again, as other processes do."""
    async with contextlib.AsyncExitStack() as stack:

        async def open_again(writer: str = "other") -> Ledger:
            one = await open_ledger(ledger_url, writer)
            stack.push_async_callback(one.close)
            return one

        yield open_again


def event(type_: str = "ToolWithdrawn", time: int = 1, **more: Any) -> AuditEvent:
    return AuditEvent(id="0190", time=time, type=type_, outcome="success", **more)


def withdrawal(ref: Ref = REFUND, tenant: str | None = None, by: str = "user:root", at: int = 5) -> Withdrawal:
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
    ledger: Ledger, new_ledger_url: Callable[[], str]
):
    """Zero is what policy says where data is missing."""
    meta = await ledger.meta()
    assert re.fullmatch(r"[0-9a-f]{32}", meta.epoch)
    assert (meta.revision, meta.config_hash) == (1, None)
    other = await open_ledger(new_ledger_url())
    assert (await other.meta()).epoch != meta.epoch
    await other.close()


async def test_what_was_written_is_there_when_the_ledger_is_opened_again(ledger: Ledger, ledger_url: str):
    await ledger.withdraw(withdrawal(), event())
    await ledger.add_credential(credential(), event("KeyCreated"))
    before = await ledger.meta()
    await ledger.close()
    again = await open_ledger(ledger_url)
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
        await ledger.note_bundle("custom", "d1"),
        (await ledger.restore(REFUND, None, event()))[0],
        await ledger.forget_replica("gw-1"),
        (await ledger.renew_epoch((await ledger.meta()).epoch)).revision,
    ]
    assert revisions == list(range(2, 15))
    assert (await ledger.meta()).revision == 14


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
    assert [(one.ref.name, one.tenant) for one in await ledger.withdrawals()] == [
        ("charge", None),
        ("refund", None),
        ("refund", "tenant:a"),
        ("refund", "tenant:b"),
    ]


async def test_a_prompt_and_a_resource_of_the_name_of_a_tool_are_withdrawn_each_for_itself(ledger: Ledger):
    refs = [Ref("payments", kind, "refund") for kind in Kind]
    for ref in refs:
        await ledger.withdraw(withdrawal(ref), event())
    assert {one.ref for one in await ledger.withdrawals()} == set(refs)
    _, lifted = await ledger.restore(refs[1], None, event("ToolRestored"))
    assert [one.ref for one in lifted] == [refs[1]]
    assert {one.ref for one in await ledger.withdrawals()} == {refs[0], refs[2]}


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
    await ledger.withdraw(withdrawal(Ref.of_tool("payments", "Refund"), "Tenant:A"), event())
    for ref, tenant in ((REFUND, "Tenant:A"), (Ref.of_tool("payments", "Refund"), "tenant:a"), (REFUND, None)):
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


async def test_an_inventory_keeps_what_there_is_of_every_kind_and_is_new_when_any_of_it_is(ledger: Ledger):
    odd = ("", "#prompts/x", "with space", "a/b")
    listed = ServerInventory("s", "d", odd, 1, prompts=odd, resources=("file:///a",), templates=("file:///{name}",))
    before = await ledger.put_inventory(listed)
    assert await ledger.inventory() == (listed,)
    assert await ledger.put_inventory(replace(listed, updated_at=2)) is None
    for changes in ({"prompts": ("y",)}, {"resources": ()}, {"templates": ()}, {"tools": ()}):
        assert await ledger.put_inventory(replace(listed, **changes)) is not None
        assert (await ledger.inventory())[0] == replace(listed, **changes)
    assert before is not None


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


@pytest.mark.parametrize("size", [1, 3, 4, 5, 63, 64, 65, 300])
async def test_a_group_of_any_size_is_there_whole_and_in_order(ledger: Ledger, size: int):
    await ledger.append_audit([event(f"number {number}", time=number) for number in range(size)])
    assert [one.type for _, one in await ledger.audit(limit=size + 1)] == [f"number {n}" for n in range(size)]


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


async def test_two_openings_see_each_other_s_commits_at_once(ledger: Ledger, ledger_url: str):
    other = await open_ledger(ledger_url)
    for number in range(20):
        writer, reader = (ledger, other) if number % 2 else (other, ledger)
        revision = await writer.withdraw(withdrawal(Ref.of_tool("payments", f"t{number}")), event())
        assert (await reader.meta()).revision == revision
        assert len(await reader.withdrawals()) == number + 1
    assert (await other.meta()).epoch == (await ledger.meta()).epoch
    await other.close()


async def test_openings_at_once_of_a_ledger_that_is_not_there_yet_make_one(ledger_url: str):
    opened = await asyncio.gather(*(open_ledger(ledger_url) for _ in range(6)))
    assert len({(await one.meta()).epoch for one in opened}) == 1
    for one in opened:
        await one.close()


async def test_a_caller_that_is_cancelled_neither_stops_nor_halves_its_mutation(ledger: Ledger):
    """A client that disconnects cancels its request; the commit and its event go through."""
    tools = [Ref.of_tool("payments", f"t{number}") for number in range(50)]
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


async def test_closing_finishes_what_was_asked_before_and_refuses_what_comes_after(ledger: Ledger, ledger_url: str):
    waiting = [
        asyncio.create_task(ledger.withdraw(withdrawal(Ref.of_tool("payments", f"t{number}")), event()))
        for number in range(20)
    ]
    await asyncio.sleep(0)
    await ledger.close()
    assert sorted(await asyncio.gather(*waiting)) == list(range(2, 22))
    await ledger.close()
    for refused in (ledger.meta, ledger.withdrawals, lambda: ledger.renew_epoch("e"), lambda: ledger.changed(0)):
        with pytest.raises(Unavailable, match="closed"):
            await refused()
    again = await open_ledger(ledger_url)
    assert len(await again.withdrawals()) == 20
    await again.close()


@pytest.mark.parametrize("address", ["mysql://x/y", "portcullis.db"])
async def test_a_ledger_of_an_unknown_kind_is_refused(address: str):
    with pytest.raises(Unavailable, match="not supported"):
        await open_ledger(address)


# --- keys and tenant tokens -----------------------------------------------------------------------------------------


def token(id_: str, tenant: str = "tenant:a", by: str = "user:jo", **more: Any) -> Credential:
    return credential(id_, kind=CredentialKind.TENANT_TOKEN, tenant=tenant, created_by=by, **more)


async def test_a_tenant_token_is_kept_with_its_kind_and_the_tools_that_narrow_it(ledger: Ledger):
    minted = token("t_1", tools=("payments/*", "docs#prompts/ü"), principal="token:t_1")
    await ledger.add_credential(minted, event("TokenMinted"))
    await ledger.add_credential(credential("c_1"), event("KeyCreated"))
    assert await ledger.credentials() == (minted, credential("c_1"))


async def test_only_what_changed_after_a_revision_is_read_again(ledger: Ledger):
    for id_ in ("c_1", "c_2", "c_3"):
        await ledger.add_credential(credential(id_), event())
    before = (await ledger.meta()).revision
    await ledger.touch_credentials({"c_3": 5})
    await ledger.withdraw(withdrawal(), event())
    assert await ledger.credentials(since=before) == ()
    await ledger.revoke_credential("c_1", "user:root", 7, event(), admins=NONE)
    await ledger.rotate_credential("c_2", credential("c_4", created_at=8), 9, event())
    assert [one.id for one in await ledger.credentials(since=before)] == ["c_1", "c_2", "c_4"]
    assert [one.id for one in await ledger.credentials(since=before + 2)] == ["c_2", "c_4"]


async def test_pages_of_credentials_follow_each_other_without_gap_and_keep_to_what_is_looked_for(ledger: Ledger):
    for number in range(7):
        await ledger.add_credential(token(f"a_{number}", by="user:jo" if number % 2 else "user:mo"), event())
        await ledger.add_credential(token(f"b_{number}", "tenant:b"), event())
        await ledger.add_credential(credential(f"c_{number}"), event())
    pages, after = [], None
    while page := await ledger.credentials_page(
        kind=CredentialKind.TENANT_TOKEN, tenant="tenant:a", after=after, limit=3
    ):
        pages.append([one.id for one in page])
        after = page[-1].id
    assert pages == [["a_0", "a_1", "a_2"], ["a_3", "a_4", "a_5"], ["a_6"]]
    mine = await ledger.credentials_page(tenant="tenant:a", created_by="user:jo")
    assert [one.id for one in mine] == ["a_1", "a_3", "a_5"]
    assert len(await ledger.credentials_page(kind=CredentialKind.API_KEY)) == 7
    assert len(await ledger.credentials_page(limit=10)) == 10


async def test_a_cursor_of_somebody_else_s_says_nothing_of_where_it_stands(ledger: Ledger):
    for id_, tenant in (("a_1", "tenant:a"), ("b_1", "tenant:b"), ("a_2", "tenant:a")):
        await ledger.add_credential(token(id_, tenant), event())
    pages = [await ledger.credentials_page(tenant="tenant:a", after=cursor) for cursor in ("b_1", "nobody's", None)]
    assert pages[0] == pages[1] == pages[2]


async def test_a_rotated_key_lives_on_until_the_overlap_ends_and_knows_its_successor(ledger: Ledger):
    await ledger.add_credential(credential("c_1", expires_at=1000), event("KeyCreated"))
    before = await ledger.meta()
    revision = await ledger.rotate_credential("c_1", credential("c_2", created_at=10), 60, event("KeyRotated"))
    assert revision == before.revision + 1
    assert await ledger.credentials() == (
        credential("c_1", expires_at=60, replaced_by="c_2"),
        credential("c_2", created_at=10),
    )
    assert await types(ledger) == ["KeyCreated", "KeyRotated"]


async def test_an_overlap_never_lengthens_a_life_and_gives_an_end_to_one_without(ledger: Ledger):
    await ledger.add_credential(credential("short", expires_at=50), event())
    await ledger.add_credential(credential("endless"), event())
    await ledger.rotate_credential("short", credential("s_2", created_at=10), 60, event())
    await ledger.rotate_credential("endless", credential("e_2", created_at=10), 60, event())
    assert {one.id: one.expires_at for one in await ledger.credentials() if one.replaced_by} == {
        "short": 50,
        "endless": 60,
    }


@pytest.mark.parametrize("kind", ["none", "revoked", "expired", "replaced", "another kind"])
async def test_what_is_no_live_key_is_not_rotated_and_nothing_is_left_of_the_attempt(ledger: Ledger, kind: str):
    await ledger.add_credential(credential("c_1", expires_at=20 if kind == "expired" else None), event("KeyCreated"))
    if kind == "revoked":
        await ledger.revoke_credential("c_1", "user:root", 5, event("KeyRevoked"), admins=NONE)
    if kind == "replaced":
        await ledger.rotate_credential("c_1", credential("c_2", created_at=10), 90, event("KeyRotated"))
    before, recorded = await ledger.meta(), await types(ledger)
    new = token("c_9", created_at=30) if kind == "another kind" else credential("c_9", created_at=30)
    assert await ledger.rotate_credential("c_0" if kind == "none" else "c_1", new, 90, event("never")) is None
    assert (await ledger.meta(), await types(ledger)) == (before, recorded)
    assert "c_9" not in [one.id for one in await ledger.credentials()]


async def test_the_last_use_only_goes_forward_and_is_no_mutation(ledger: Ledger):
    for id_ in ("c_1", "c_2"):
        await ledger.add_credential(credential(id_), event())
    before = await ledger.meta()
    await ledger.touch_credentials({"c_1": 50, "c_2": 60, "gone": 70})
    await ledger.touch_credentials({"c_1": 40, "c_2": 61})
    await ledger.touch_credentials({})
    assert [one.last_used_at for one in await ledger.credentials()] == [50, 61]
    assert await ledger.meta() == before


async def test_uses_noted_by_two_openings_at_once_do_not_wait_for_each_other(ledger: Ledger, opened: Opened):
    ids = [f"c_{number}" for number in range(40)]
    for id_ in ids:
        await ledger.add_credential(credential(id_), event())
    other = await opened()
    forth, back = dict.fromkeys(ids, 1), dict.fromkeys(reversed(ids), 2)
    await asyncio.gather(*(one.touch_credentials(used) for one in (ledger, other) for used in (forth, back)))
    assert {one.last_used_at for one in await ledger.credentials()} == {2}


# --- roles ----------------------------------------------------------------------------------------------------------


def binding(principal: str = "user:jo", role: str = "viewer", scope: str = "global", **more: Any) -> Binding:
    return replace(Binding(principal, role, scope, None, "user:root", 5), **more)


async def revoked(ledger: Ledger, one: Binding, at: int = 9, admins: Admins = NONE) -> int | None:
    to = (one.principal, one.role, one.scope, one.issuer)
    return await ledger.revoke_role(*to, "user:root", at, event("RoleRevoked"), admins=admins)


async def test_a_role_given_is_there_once_and_taken_away_it_leaves_a_tombstone(ledger: Ledger):
    first = await ledger.assign_role(binding(), event("RoleAssigned"))
    assert await ledger.assign_role(binding(by="user:mo", at=6), event("RoleAssigned")) == first
    assert await ledger.bindings() == (binding(),)
    assert await revoked(ledger, binding()) == first + 1
    assert await ledger.bindings() == (binding(revoked_at=9, revoked_by="user:root"),)
    assert await revoked(ledger, binding()) is None
    assert await types(ledger) == ["RoleAssigned", "RoleAssigned", "RoleRevoked"]


async def test_a_role_given_again_is_in_force_again(ledger: Ledger):
    await ledger.assign_role(binding(), event())
    await revoked(ledger, binding())
    before = (await ledger.meta()).revision
    assert await ledger.assign_role(binding(by="user:mo", at=20), event()) == before + 1
    assert await ledger.bindings() == (binding(by="user:mo", at=20),)


async def test_equal_principals_of_two_issuers_are_two(ledger: Ledger):
    ours, theirs = binding(issuer="https://a"), binding(issuer="https://b")
    for one in (binding(), theirs, ours):
        await ledger.assign_role(one, event())
    await revoked(ledger, theirs)
    assert [(one.issuer, one.revoked_at) for one in await ledger.bindings()] == [
        (None, None), ("https://a", None), ("https://b", 9),
    ]  # fmt: skip


def admin(id_: str, **more: Any) -> Credential:
    return credential(id_, role="admin", **more)


ROLES = Admins(0, frozenset(("admin", "owner")))


@pytest.mark.parametrize(
    "other",
    [
        admin("c_2", expires_at=50),
        admin("c_2", tenant="tenant:a"),
        admin("c_2", replaced_by="c_3", expires_at=500),
        credential("c_2", role="viewer"),
        binding(role="admin", scope="tenant:tenant:a"),
        binding(role="viewer"),
        binding("service:keyless", role="admin"),
        None,
    ],
    ids=["expired", "of a tenant", "replaced", "no admin", "bound in a tenant", "bound to less", "keyless", "nobody"],
)
async def test_the_last_live_global_admin_cannot_be_revoked(ledger: Ledger, other: Credential | Binding | None):
    await ledger.add_credential(admin("c_1"), event("kept"))
    if isinstance(other, Credential):
        await ledger.add_credential(other, event("kept"))
    elif other is not None:
        await ledger.assign_role(other, event("kept"))
    before, recorded = await ledger.meta(), await types(ledger)
    with pytest.raises(LastAdmin):
        await ledger.revoke_credential("c_1", "user:root", 60, event("undone"), admins=ROLES)
    assert (await ledger.meta(), await types(ledger)) == (before, recorded)
    assert (await ledger.credentials())[0] == admin("c_1")


@pytest.mark.parametrize(
    "other",
    [admin("c_2", expires_at=70), credential("c_2", role="owner"), binding(role="admin"), Admins(1, ROLES.roles)],
)
async def test_an_admin_is_revoked_where_another_one_is_left(ledger: Ledger, other: Credential | Binding | Admins):
    await ledger.add_credential(admin("c_1"), event())
    if isinstance(other, Credential):
        await ledger.add_credential(other, event())
    elif isinstance(other, Binding):
        await ledger.assign_role(other, event())
    admins = other if isinstance(other, Admins) else ROLES
    assert await ledger.revoke_credential("c_1", "user:root", 60, event(), admins=admins)


async def test_a_service_with_the_role_is_an_admin_for_as_long_as_it_has_a_key_that_is_good_everywhere(ledger: Ledger):
    await ledger.assign_role(binding("service:ci", role="admin"), event())
    await ledger.add_credential(credential("c_1", principal="service:ci"), event())
    await ledger.add_credential(credential("c_2", principal="service:ci", tenant="tenant:a"), event())
    await ledger.add_credential(admin("c_3"), event())
    assert await ledger.revoke_credential("c_3", "user:root", 60, event(), admins=ROLES)
    with pytest.raises(LastAdmin):
        await ledger.revoke_credential("c_1", "user:root", 60, event(), admins=ROLES)


async def test_the_last_admin_by_a_role_cannot_be_demoted_and_others_can(ledger: Ledger):
    await ledger.assign_role(binding(role="owner"), event())
    await ledger.assign_role(binding("user:mo"), event())
    with pytest.raises(LastAdmin):
        await revoked(ledger, binding(role="owner"), admins=ROLES)
    assert await revoked(ledger, binding("user:mo"), admins=ROLES)
    assert [one.revoked_at for one in await ledger.bindings()] == [None, 9]


async def test_where_nobody_was_an_admin_nobody_needs_to_be_left(ledger: Ledger):
    await ledger.add_credential(credential("c_1", role="viewer"), event())
    assert await ledger.revoke_credential("c_1", "user:root", 60, event(), admins=ROLES)


async def test_of_two_admins_that_revoke_each_other_at_the_same_moment_one_is_left(ledger: Ledger, opened: Opened):
    other = await opened()
    for number in range(10):
        ids = [f"{number}_1", f"{number}_2"]
        for id_ in ids:
            await ledger.add_credential(admin(id_), event())
        waiting = [
            one.revoke_credential(id_, "user:root", 60, event(), admins=ROLES)
            for one, id_ in zip((ledger, other), ids, strict=True)
        ]
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert sorted(type(one).__name__ for one in results) == ["LastAdmin", "int"]
        (left,) = [one.id for one in await ledger.credentials() if one.id in ids and not one.revoked_at]
        await ledger.revoke_credential(left, "user:root", 60, event(), admins=Admins(1))


# --- looking for events ---------------------------------------------------------------------------------------------


def told(number: int, **more: Any) -> AuditEvent:
    actor, target = {"principal": more.pop("principal", "user:jo")}, more.pop("target", {})
    return replace(event("ToolCalled", number, actor=actor, target=target), id=f"id {number}", **more)


TRAIL = (
    told(0, tenant="tenant:a", target={"id": "payments/charge", "name": "charge"}),
    told(1, tenant="tenant:b", target={"id": "payments/charge", "name": "charge"}, type="AuthorizationDenied"),
    told(2, tenant="tenant:a", target={"name": "nothing"}, outcome="failure", principal="user:mo"),
    told(3),
    told(4, tenant="tenant:a", principal="service:ci", type="KeyCreated", target={"id": "c_1"}),
)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (AuditFilter(), [0, 1, 2, 3, 4]),
        (AuditFilter(tenant="tenant:a"), [0, 2, 4]),
        (AuditFilter(scope="tenant:b"), [1]),
        (AuditFilter(scope="tenant:b", tenant="tenant:a"), []),
        (AuditFilter(principal="user:jo"), [0, 1, 3]),
        (AuditFilter(type="ToolCalled", outcome="success"), [0, 3]),
        (AuditFilter(target="payments/charge"), [0, 1]),
        (AuditFilter(target="nothing"), [2]),
        (AuditFilter(since=1, until=4), [1, 2, 3]),
        (AuditFilter(tenant="tenant:a", since=1, principal="service:ci"), [4]),
    ],
)
async def test_events_are_found_by_what_they_say(ledger: Ledger, wanted: AuditFilter, found: list[int]):
    await ledger.append_audit(TRAIL)
    forth = await ledger.audit_page(wanted)
    assert [one.time for _, one in forth] == found
    assert await ledger.audit_page(wanted, newest_first=True) == forth[::-1]


async def test_pages_of_events_go_both_ways(ledger: Ledger):
    await ledger.append_audit(TRAIL)
    wanted, after, pages = AuditFilter(tenant="tenant:a"), None, []
    while page := await ledger.audit_page(wanted, after=after, limit=2, newest_first=True):
        pages.append([one.time for _, one in page])
        after = page[-1][0]
    assert pages == [[4, 2], [0]]
    first = await ledger.audit_page(wanted, limit=1)
    assert [one.time for _, one in await ledger.audit_page(wanted, after=first[0][0], limit=5)] == [2, 4]


async def test_events_of_any_text_are_kept(ledger: Ledger):
    """What no column of a database takes is kept in the event all the same."""
    odd = told(0, tenant="a\0b", principal="\ud800\u2028", target={"id": 5, "name": "x" * 5000}, reason="ü")
    await ledger.append_audit([odd])
    assert [one for _, one in await ledger.audit()] == [odd]
    assert not (await ledger.audit_chain()).breaks


@pytest.mark.parametrize("odd", ["\0", "user:\0", "\ud800"])
async def test_text_that_no_column_holds_is_looked_for_like_any_other(ledger: Ledger, odd: str):
    await ledger.add_credential(credential(), event())
    assert await ledger.credential(odd) is None
    assert [one.id for one in await ledger.credentials_page(after=odd)] == ["c_1"]
    assert await ledger.audit_page(AuditFilter(principal=odd)) == ()
    acted = told(0, principal=odd, target={"name": odd})
    await ledger.append_audit([acted])
    found = await ledger.audit_page(AuditFilter(principal=odd, target=odd))
    assert [one for _, one in found] == [acted]


# --- the chain ------------------------------------------------------------------------------------------------------


async def chained(ledger: Ledger) -> dict[str, int]:
    """Return how many events each writer's chain has, if all of them hold."""
    found = await ledger.audit_chain()
    assert found.breaks == ()
    return {one.name: one.number for one in found.writers}


async def test_an_empty_trail_has_nothing_to_hold_against_it(ledger: Ledger):
    assert await ledger.audit_chain() == Verification(0, 0, (), ())


async def test_events_of_decisions_and_of_mutations_are_one_chain_of_their_process(ledger: Ledger):
    await ledger.append_audit(TRAIL)
    await ledger.withdraw(withdrawal(), event())
    await ledger.append_audit([FULL])
    await ledger.revoke_credential("none", "user:root", 1, event(), admins=NONE)
    seen: list[int] = []
    found = await ledger.audit_chain(seen.append)
    assert (found.events, found.unchained, found.breaks, seen) == (7, 0, (), [7])
    assert [one.number for one in found.writers] == [7]


async def test_each_life_of_a_process_is_a_writer_of_its_own_even_under_one_name(opened: Opened):
    lives = [await opened("gw-1") for _ in range(3)]
    for number in range(9):
        await lives[number % 3].append_audit([told(number)])
    names = await chained(lives[0])
    assert list(names.values()) == [3, 3, 3]
    assert all(name.startswith("gw-1.") for name in names)


async def test_a_process_that_only_reads_is_no_writer(ledger: Ledger):
    await ledger.audit()
    assert await chained(ledger) == {}


async def test_events_appended_at_once_from_everywhere_are_chained_and_each_is_there(ledger: Ledger, opened: Opened):
    other = await opened()
    work = [
        *(one.append_audit([told(number), told(number)]) for one in (ledger, other) for number in range(20)),
        *(
            one.withdraw(withdrawal(Ref.of_tool("p", f"{number}")), event())
            for one in (ledger, other)
            for number in range(20)
        ),
    ]
    await asyncio.gather(*work)
    assert sorted((await chained(ledger)).values()) == [60, 60]
    assert [seq for seq, _ in await ledger.audit(limit=500)] == sorted({seq for seq, _ in await other.audit(limit=500)})


async def test_a_mutation_that_is_undone_leaves_no_gap_in_the_chain(ledger: Ledger):
    await ledger.add_credential(credential("c_1"), event())
    for _ in range(3):
        with pytest.raises(Unavailable):
            await ledger.add_credential(credential("c_2", hash="hash of c_1"), event("undone"))
    await ledger.append_audit([told(1)])
    assert list((await chained(ledger)).values()) == [2]


async def test_a_pruned_trail_is_verified_from_where_it_was_cut(ledger: Ledger, opened: Opened):
    other = await opened()
    for number in range(10):
        await (ledger, other)[number % 2].append_audit([told(10 * number), told(10 * number + 1)])
    assert await ledger.prune_audit(55) == 12
    assert list((await chained(ledger)).values()) == [10, 10]
    assert await ledger.prune_audit(1000) == 8
    assert (await ledger.audit_chain()).events == 0
    for one in (other, ledger):
        await one.append_audit([told(2000)])
    assert (await ledger.audit_chain()).events == 2
    await chained(ledger)


async def test_writers_whose_events_are_all_gone_leave_the_register_and_live_ones_go_on(opened: Opened):
    keeper = await opened("keeper")
    for number in range(5):
        passing = await opened("passing")
        await passing.append_audit([told(number)])
    await keeper.append_audit([told(90)])
    assert await keeper.prune_audit(50) == 5
    names = await chained(keeper)
    assert [name.split(".")[0] for name in names] == ["passing", "keeper"]
    await keeper.prune_audit(100)
    await keeper.append_audit([told(110)])
    newest = await opened("newest")
    await newest.append_audit([told(111)])
    await chained(keeper)
    assert await keeper.prune_audit(111) == 1
    await keeper.append_audit([told(112)])
    assert [one.time for _, one in await keeper.audit()] == [111, 112]
    await chained(keeper)


async def test_pruning_stops_at_the_first_event_that_is_not_old_so_that_no_chain_has_a_hole(ledger: Ledger):
    await ledger.append_audit([told(time) for time in (1, 2, 50, 3, 60)])
    assert await ledger.prune_audit(40) == 2
    assert [one.time for _, one in await ledger.audit()] == [50, 3, 60]
    await chained(ledger)


async def test_an_event_of_a_clock_that_was_ahead_by_years_keeps_nothing_alive(ledger: Ledger):
    await ledger.append_audit([told(time) for time in (1, 4_102_444_800_000, 2, 60)])
    assert await ledger.prune_audit(40) == 3
    await chained(ledger)


async def test_two_that_prune_at_once_cut_one_trail(ledger: Ledger, opened: Opened):
    await ledger.append_audit([told(time) for time in range(6000)])
    other = await opened()
    gone = await asyncio.gather(ledger.prune_audit(5000), other.prune_audit(5500), ledger.prune_audit(5500))
    assert sum(gone) == 5500
    assert (await ledger.audit_chain()).events == 500
    await chained(ledger)


# --- hearing of others ----------------------------------------------------------------------------------------------


async def test_a_commit_of_another_is_heard_and_audit_events_alone_are_not(ledger: Ledger, opened: Opened):
    other = await opened()
    while await ledger.changed(0.2):
        pass
    await other.append_audit([told(1)])
    await other.touch_credentials({"c_1": 1})
    assert not await ledger.changed(0.1)
    waiting = asyncio.create_task(ledger.changed(10))
    await other.withdraw(withdrawal(), event())
    assert await waiting
    await ledger.withdraw(withdrawal(CHARGE), event())
    assert await ledger.changed(10)
    assert not await ledger.changed(0.1)


async def test_what_was_committed_before_anybody_waited_is_heard_at_once(ledger: Ledger):
    while await ledger.changed(0.2):
        pass
    await ledger.withdraw(withdrawal(), event())
    await until(lambda: ledger.changed(0))


async def test_an_epoch_is_renewed_once_however_many_found_the_ledger_restored(ledger: Ledger, opened: Opened):
    other = await opened()
    before = await ledger.meta()
    found = await asyncio.gather(*(one.renew_epoch(before.epoch) for one in (ledger, other, ledger)))
    assert len({one.epoch for one in found}) == 1
    assert found[0].epoch != before.epoch
    assert (await ledger.meta()).revision == before.revision + 1


# --- what replicas have applied ---------------------------------------------------------------------------------------

GW_1 = Replica("gw-1", "h1", 1)
APPLIED = Acknowledgement("gw-1", "h1", "sync a", "e", 7, ((3, 5),), 10)


async def test_what_a_replica_has_applied_is_kept_as_it_was_said_last(ledger: Ledger):
    before = await ledger.register_replica(GW_1)
    await ledger.register_replica(Replica("gw-2", "h2", 1))
    other = replace(APPLIED, replica="gw-2", token_hash="h2", lacking=())
    await ledger.acknowledge([other, APPLIED], news=True)
    assert await ledger.acknowledgements() == (APPLIED, other)
    later = replace(APPLIED, sync="sync b", epoch="f", revision=2, lacking=((0, 1),), at=11)
    await ledger.acknowledge([later], news=True)
    assert await ledger.acknowledgements() == (later, other)
    assert (await ledger.meta()).revision == before + 1


@pytest.mark.parametrize("of", [{"replica": "gw-9"}, {"token_hash": "another"}], ids=str)
async def test_of_a_replica_that_is_not_counted_nothing_is_kept(ledger: Ledger, of: dict[str, str]):
    await ledger.register_replica(GW_1)
    await ledger.acknowledge([replace(APPLIED, **of)], news=True)
    assert await ledger.acknowledgements() == ()


async def test_what_a_forgotten_replica_had_applied_is_forgotten_with_it(ledger: Ledger):
    await ledger.register_replica(GW_1)
    await ledger.acknowledge([APPLIED], news=True)
    await ledger.forget_replica("gw-1")
    await ledger.register_replica(GW_1)
    assert await ledger.acknowledgements() == ()


async def test_what_a_replica_has_applied_is_heard_of_where_it_is_news(ledger: Ledger, opened: Opened):
    other = await opened()
    await ledger.register_replica(GW_1)
    while await ledger.changed(0.2):
        pass
    await other.acknowledge([APPLIED], news=True)
    assert await ledger.changed(10)
    await other.acknowledge([replace(APPLIED, at=99)], news=False)
    assert not await ledger.changed(0.1)
    for said in (replace(APPLIED, lacking=()), replace(APPLIED, lacking=(), revision=8)):
        await other.acknowledge([said], news=True)
        assert await ledger.changed(10)


# --- several processes ----------------------------------------------------------------------------------------------

WRITE = """
import asyncio, sys
from gateway.ledger.connect import open_ledger
from gateway.ids import Ref
from gateway.model import AuditEvent, Withdrawal
async def main(url, who, count):
    ledger = await open_ledger(url)
    for number in range(int(count)):
        event = AuditEvent(id="0190", time=number, type=who, outcome="success")
        print(await ledger.withdraw(Withdrawal(Ref.of_tool(who, f"t{number}"), None, who, number), event), flush=True)
    await ledger.close()
asyncio.run(main(*sys.argv[1:]))
"""


def writing(ledger_url: str, who: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITE, ledger_url, who, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


async def test_two_processes_on_one_ledger_never_share_a_revision_nor_lose_one(ledger_url: str):
    def write(who: str) -> list[int]:
        with writing(ledger_url, who, 100) as writer:
            return list(map(int, writer.communicate()[0].split()))

    with ThreadPoolExecutor(2) as pool:
        revisions = [*pool.map(write, ("one", "two"))]
    assert sorted(revisions[0] + revisions[1]) == list(range(2, 202))
    ledger = await open_ledger(ledger_url)
    assert len(await ledger.withdrawals()) == len(await ledger.audit(limit=1000)) == 200
    assert list((await chained(ledger)).values()) == [100, 100]
    await ledger.close()


async def test_what_was_answered_survives_kill_9_and_each_withdrawal_has_its_event(ledger_url: str):
    with writing(ledger_url, "killed", 100_000) as writer:
        assert writer.stdout
        answered = [writer.stdout.readline() for _ in range(20)]
        writer.send_signal(signal.SIGKILL)
        answered += writer.stdout.readlines()
    ledger = await open_ledger(ledger_url)

    async def settled() -> bool:
        """A server may be about to commit what its client asked for last."""
        withdrawn, events = await ledger.withdrawals(), await ledger.audit(limit=100_000)
        return len(withdrawn) == len(events) == (await ledger.meta()).revision - 1

    await until(settled)
    assert (await ledger.meta()).revision >= int(answered[-1])
    await chained(ledger)
    await ledger.close()


async def test_a_follower_sees_another_process_s_commit(ledger_url: str):
    ledger = await open_ledger(ledger_url)

    async def moved() -> bool:
        return (await ledger.meta()).revision == 4

    with writing(ledger_url, "other", 3):
        await until(moved)
    await ledger.close()
