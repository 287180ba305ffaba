"""Sync follows ledger and files: what is published when, and what is not vouched for."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bundles.custom import CustomPolicy
from bundles.follow import COALESCE_SECONDS
from bundles.signing import SigningKey
from bundles.snapshot import read
from gateway.config import load
from gateway.errors import ConfigError, Mistake
from gateway.ledger.values import Admins
from gateway.model import Credential
from tests.support.clock import Clock
from tests.support.sync import FRONT_DOOR, Sync, event, inventory
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.config import Config

NAMES = ("policy", "custom", "tenants", "live")


@pytest.fixture
async def clock() -> Clock:
    return Clock(1_790_000_000)


@pytest.fixture
async def sync(tmp_path: Path, clock: Clock) -> AsyncIterator[Sync]:
    async with Sync(tmp_path, now=clock) as running:
        await running.token("gw")
        await until(running.service.publisher.replicas.counted)
        yield running


async def document(sync: Sync, name: str) -> Any:
    return (await sync.poll(name, await sync.token("gw"))).data


async def etags(sync: Sync) -> dict[str, str | None]:
    return {name: (await sync.poll(name, await sync.token("gw"))).etag for name in NAMES}


def health(sync: Sync) -> Any:
    return sync.service.follower.health()


async def test_live_says_what_the_ledger_says(sync: Sync) -> None:
    await sync.withdraw("charge")
    revision = await sync.withdraw("refund", "tenant:b")
    await until(lambda: sync.service.publisher.revision == revision)
    assert await document(sync, "live") == {
        "epoch": (await sync.ledger.meta()).epoch,
        "revision": revision,
        "generated_at": 1_790_000_000,
        "withdrawn": {
            "global": {"payments/charge": {"by": "user:root", "at": 1}},
            "tenant": {"tenant:b": {"payments/refund": {"by": "user:root", "at": 1}}},
        },
        "revoked": {},
        "bindings": {},
        "groups": {},
        "scopes": {},
    }


async def test_a_commit_is_noticed_without_a_hint_and_after_one(sync: Sync) -> None:
    for hint in (sync.service.follower.hint, lambda: None):
        revision = await sync.withdraw("refund")
        hint()
        await until(lambda revision=revision: sync.service.publisher.revision == revision)


async def test_a_burst_of_mutations_is_published_at_most_once_in_fifteen_milliseconds(sync: Sync) -> None:
    loop = asyncio.get_running_loop()
    before, start = sync.service.publisher.sequence("live"), loop.time()
    for number in range(60):
        revision = await sync.withdraw(f"tool_{number}")
        sync.service.follower.hint()
    await until(lambda: sync.service.publisher.revision == revision)
    assert len((await document(sync, "live"))["withdrawn"]["global"]) == 60
    assert sync.service.publisher.sequence("live") - before <= (loop.time() - start) / COALESCE_SECONDS + 2


async def test_the_heartbeat_vouches_anew_for_the_same_facts(sync: Sync, clock: Clock) -> None:
    first, before = await document(sync, "live"), await etags(sync)
    clock.advance(9)
    await sync.service.follower.look(5)
    assert await document(sync, "live") == first
    clock.advance(1)
    await sync.service.follower.look(5)
    assert await document(sync, "live") == {**first, "generated_at": first["generated_at"] + 10}
    assert {name for name, etag in (await etags(sync)).items() if etag != before[name]} == {"live"}


async def test_a_clock_set_back_makes_the_heartbeat_due(sync: Sync, clock: Clock) -> None:
    clock.advance(-3600)
    await sync.service.follower.look(5)
    assert (await document(sync, "live"))["generated_at"] == 1_790_000_000 - 3600


async def test_while_the_ledger_cannot_be_read_nothing_is_vouched_for_and_the_old_is_served(
    sync: Sync, clock: Clock
) -> None:
    before = await document(sync, "live")
    with sync.ledger_away():
        await until(lambda: any("ledger" in problem for problem in health(sync)["problems"]))
        clock.advance(60)
        await sync.service.follower.look(5)
        await sync.service.follower.look(5)
        assert health(sync)["status"] == "degraded"
        assert await document(sync, "live") == before
    await until(lambda: health(sync)["status"] == "ok")
    assert (await document(sync, "live"))["generated_at"] == before["generated_at"] + 60


async def test_a_new_epoch_publishes_everything_anew_and_forgets_every_acknowledgement(sync: Sync) -> None:
    token, before = await sync.token("gw"), await etags(sync)
    for name, etag in before.items():
        await sync.poll(name, token, etag)
    meta = await sync.ledger.renew_epoch((await sync.ledger.meta()).epoch)
    await until(lambda: sync.service.publisher.epoch == meta.epoch and sync.service.publisher.ready)
    after = await etags(sync)
    assert all(etag != before[name] and meta.epoch in str(etag) for name, etag in after.items())
    assert (await document(sync, "live"))["epoch"] == meta.epoch
    assert await sync.applied(meta.revision, wait=0) == ([], ["gw"])


async def test_a_new_inventory_rebuilds_tenants_and_nothing_else_but_live(sync: Sync) -> None:
    before = await etags(sync)
    revision = await sync.ledger.put_inventory(inventory("payments", "charge", "new", digest="d2"))
    assert revision is not None
    await until(lambda: sync.service.publisher.settled(revision))
    assert "payments/new" in (await document(sync, "tenants"))["server_ids"]["payments"]["tool"]
    assert {name for name, etag in (await etags(sync)).items() if etag != before[name]} == {"tenants", "live"}


async def test_an_inventory_whose_definitions_alone_changed_rebuilds_no_tenants(sync: Sync) -> None:
    before = await etags(sync)
    listed = (await sync.ledger.inventory())[0]
    revision = await sync.ledger.put_inventory(replace(listed, digest="other"))
    assert revision is not None
    await until(lambda: sync.service.publisher.settled(revision))
    assert (await etags(sync))["tenants"] == before["tenants"]


async def test_a_changed_file_is_published(sync: Sync) -> None:
    sync.config.write_text(FRONT_DOOR.replace("[charge, refund]", "[charge]"))
    expected = load(sync.config).hash
    await until(lambda: health(sync)["config"] == expected)

    async def published() -> bool:
        return bool((await document(sync, "tenants"))["config"] == expected[:16])

    await until(published)


async def test_a_bad_file_changes_nothing_and_is_told_until_it_is_mended(sync: Sync) -> None:
    before = await etags(sync)
    sync.config.write_text(FRONT_DOOR.replace("mode: remote", "mode: remot"))
    await until(lambda: any("config.yaml" in problem for problem in health(sync)["problems"]))
    assert await etags(sync) == before
    sync.config.write_text(FRONT_DOOR)
    await until(lambda: health(sync)["problems"] == [])
    assert await etags(sync) == before


async def test_what_needs_a_restart_of_the_gateway_is_not_published_before_one_has_recorded_it(sync: Sync) -> None:
    before = await etags(sync)
    sync.config.write_text(FRONT_DOOR.replace("front_door}", "egress}"))
    await until(lambda: any("restart" in problem for problem in health(sync)["problems"]))
    assert (await etags(sync))["tenants"] == before["tenants"]
    await sync.ledger.note_config(load(sync.config).hash)

    async def in_egress() -> bool:
        return bool((await document(sync, "tenants"))["mode"] == "egress")

    await until(in_egress)
    assert health(sync)["problems"] == []


async def test_files_that_are_not_those_the_ledger_records_are_told(sync: Sync) -> None:
    await sync.ledger.note_config("of another machine's files")
    await until(lambda: any("gateways run on of another" in problem for problem in health(sync)["problems"]))


async def test_a_reload_counts_as_applied_only_with_the_tenants_it_brought(sync: Sync) -> None:
    token = await sync.token("gw")
    for name, etag in (await etags(sync)).items():
        await sync.poll(name, token, etag)
    sync.config.write_text(FRONT_DOOR.replace("[charge, refund]", "[charge]"))
    expected = load(sync.config).hash
    await until(lambda: health(sync)["config"] == expected)
    revision = await sync.ledger.note_config(expected)
    await until(lambda: sync.service.publisher.settled(revision))
    live = await sync.poll("live", token)
    await sync.poll("live", token, live.etag)
    assert await sync.applied(revision, wait=0) == ([], ["gw"])
    tenants = await sync.poll("tenants", token)
    await sync.poll("tenants", token, tenants.etag)
    assert await sync.applied(revision, wait=0) == (["gw"], ["gw"])


async def test_custom_policy_is_published_with_the_packages_it_names_and_a_bad_one_is_not(sync: Sync) -> None:
    given: list[CustomPolicy | ConfigError] = [
        CustomPolicy({"custom/freeze/freeze.rego": b"package custom.freeze\n"}, {"freeze": ("deny",)})
    ]

    async def load_custom(_: Config) -> CustomPolicy:
        if isinstance(given[0], ConfigError):
            raise given[0]
        return given[0]

    await sync.restart(load_custom=load_custom)
    polled = await sync.poll("custom", await sync.token("gw"))
    assert polled.manifest["metadata"] == {"packages": {"freeze": ["deny"]}}
    assert polled.files["custom/freeze/freeze.rego"] == b"package custom.freeze\n"
    given[0] = ConfigError((Mistake("freeze.rego", "", 3, "is not Rego"),))
    await sync.service.reload()
    assert health(sync)["problems"] == ["freeze.rego:3: is not Rego"]
    assert (await sync.poll("custom", await sync.token("gw"))).etag == polled.etag


async def test_a_file_of_custom_policy_that_changes_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "rego"
    folder.mkdir()
    reads: list[set[str]] = []

    async def load_custom(config: Config) -> CustomPolicy:
        assert config.opa.custom_policies == folder
        reads.append({path.name for path in folder.rglob("*.rego")})
        return CustomPolicy()

    async with Sync(tmp_path, f"opa: {{custom_policies: {folder}}}\n", load_custom=load_custom):
        for expected in ("one", "two"):
            (folder / expected).mkdir()
            (folder / expected / f"{expected}.rego").write_text("package custom.x\n")
            await until(lambda expected=expected: f"{expected}.rego" in reads[-1])


async def test_a_new_signing_key_signs_every_bundle_anew(sync: Sync) -> None:
    before = await etags(sync)
    sync.key = SigningKey.generate()
    await sync.service.reload()

    async def all_new() -> bool:
        return all(etag != before[name] for name, etag in (await etags(sync)).items())

    await until(all_new)
    assert sync.service.publisher.key.id == sync.key.id


async def test_a_mistake_in_the_files_at_the_start_starts_nothing(tmp_path: Path) -> None:
    sync = Sync(tmp_path, "tool_access: {mode: nonsense}\nmcp_server: {}\n")
    with pytest.raises(ConfigError) as refused:
        await sync.start()
    assert len(refused.value.mistakes) == 2


async def test_a_ledger_that_went_back_is_not_published_until_it_has_a_new_epoch(sync: Sync) -> None:
    """OPA would take two histories for one."""
    revision = await sync.withdraw("refund")
    await until(lambda: sync.service.publisher.revision == revision)
    before = await document(sync, "live")
    with contextlib.closing(sqlite3.connect(sync.ledger_path)) as db, db:
        db.execute("update meta set revision = 2")
        db.execute("delete from withdrawal")
    await until(lambda: any("restored" in problem for problem in health(sync)["problems"]))
    assert await document(sync, "live") == before
    meta = await sync.ledger.renew_epoch(before["epoch"])
    await until(lambda: sync.service.publisher.epoch == meta.epoch and sync.service.publisher.ready)
    after = await document(sync, "live")
    assert (after["revision"], after["withdrawn"]["global"]) == (3, {})
    assert health(sync)["status"] == "ok"


async def test_of_credentials_only_what_changed_is_read_again_and_all_of_it_is_known(sync: Sync) -> None:
    for id_ in ("c_1", "c_2", "c_3"):
        one = Credential(id_, f"hash of {id_}", "mcp_", "user:jo", "", None, None, 1, "local:jo")
        await sync.ledger.add_credential(one, event("KeyCreated"))
    first = await read(sync.ledger)
    revision = await sync.ledger.revoke_credential("c_2", "user:root", 2, event("KeyRevoked"), admins=Admins(0))
    assert revision
    assert (await read(sync.ledger, first)).credentials == await sync.ledger.credentials()
    assert (await read(sync.ledger, await read(sync.ledger))).credentials == await sync.ledger.credentials()
    await until(lambda: sync.service.publisher.revision == revision)
    assert (await document(sync, "live"))["revoked"] == {"c_2": True}
