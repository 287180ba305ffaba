"""What sync does about files that are broken, changed, or not yet in force: it serves what is certain, and says so."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from bundles.custom import CustomPolicy
from gateway.config import load
from gateway.errors import ConfigError, Mistake
from tests.support.sync import FRONT_DOOR, Sync, inventory
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.config import Config

NARROWED = FRONT_DOOR.replace("[charge, refund]", "[charge]")
WIDENED = FRONT_DOOR.replace("[charge, refund]", "[charge, refund, beta_tool]")
BROKEN = FRONT_DOOR.replace("mode: remote", "mode: remot")
FREEZE = CustomPolicy({"custom/freeze/freeze.rego": b"package custom.freeze\n"}, {"freeze": ("deny",)})
THAW = CustomPolicy({"custom/freeze/freeze.rego": b"package custom.freeze # thaw\n"}, {"freeze": ("deny",)})


class Custom:
    """Custom policy as somebody edits it; None is one that is refused. Checking it takes until it is `checked`."""

    def __init__(self) -> None:
        self.policy: CustomPolicy | None = FREEZE
        self.checked = asyncio.Event()
        self.checked.set()

    async def __call__(self, _: Config) -> CustomPolicy:
        await self.checked.wait()
        if self.policy is None:
            raise ConfigError((Mistake("freeze.rego", "", 3, "is not Rego"),))
        return self.policy


@pytest.fixture
def custom() -> Custom:
    return Custom()


@pytest.fixture
async def sync(tmp_path: Path, custom: Custom) -> AsyncIterator[Sync]:
    async with Sync(tmp_path, load_custom=custom) as running:
        await running.token("gw")
        await until(running.service.publisher.replicas.counted)
        yield running


async def hash_of(sync: Sync, text: str) -> str:
    """Return the hash of another configuration, without a change of the file that sync reads."""
    other = sync.folder / "other.yaml"
    other.write_text(text)
    return load(other).hash


async def follows(sync: Sync, revision: int) -> None:
    """Wait until sync has published a revision."""
    await until(lambda: sync.service.publisher.revision >= revision)


async def replica_has(sync: Sync, *names: str) -> None:
    """Poll as an OPA that takes whatever there is of these bundles."""
    token = await sync.token("gw")
    for name in names:
        polled = await sync.poll(name, token)
        assert polled.status == 200
        await sync.poll(name, token, polled.etag)


async def applied(sync: Sync, revision: int) -> bool:
    return await sync.applied(revision, wait=0) == (["gw"], ["gw"])


async def allowed(sync: Sync) -> Any:
    """Return what tenant:b may see by the bundle that is served."""
    data = (await sync.poll("tenants", await sync.token("gw"))).data
    return sorted(data["sets"][data["tenants"]["tenant:b"]["tool"]["allow"]])


async def revision_of(sync: Sync, name: str) -> int:
    return int((await sync.poll(name, await sync.token("gw"))).manifest["revision"].removeprefix("r"))


def health(sync: Sync) -> Any:
    return sync.service.follower.health()


async def test_a_sync_that_starts_on_broken_custom_policy_serves_the_other_three_and_withdrawals_are_applied(
    sync: Sync, custom: Custom
) -> None:
    custom.policy = None
    await sync.restart()
    assert (await sync.poll("custom", await sync.token("gw"))).status == 503
    await replica_has(sync, "policy", "tenants", "live")
    revision = await sync.withdraw("refund")
    await follows(sync, revision)
    await replica_has(sync, "live")
    assert await applied(sync, revision)
    assert (health(sync)["status"], health(sync)["withheld"]) == ("degraded", ["custom"])
    assert health(sync)["problems"] == [
        "freeze.rego:3: is not Rego",
        "custom: a replica that has none admits nothing until it is mended",
    ]
    async with sync.http.get(f"{sync.url}/health") as response:
        assert response.status == 200


@pytest.mark.parametrize("good", [True, False])
async def test_no_withdrawal_waits_until_custom_policy_is_checked(sync: Sync, custom: Custom, good: bool) -> None:
    custom.checked.clear()
    custom.policy = FREEZE if good else None
    await sync.stop()
    await sync.start(ready=False)
    revision = await sync.withdraw("refund")
    await follows(sync, revision)
    await until(lambda: sync.service.publisher.sequence("tenants"))
    await replica_has(sync, "policy", "tenants", "live")
    assert await applied(sync, revision)
    assert health(sync)["status"] == "starting"
    custom.checked.set()
    await until(lambda: health(sync)["status"] == ("ok" if good else "degraded"))


async def test_custom_policy_that_is_mended_is_served_to_whoever_waits_for_it(sync: Sync, custom: Custom) -> None:
    custom.policy = None
    await sync.restart()
    custom.policy = THAW
    await sync.service.reload()
    await until(lambda: not health(sync)["problems"])
    polled = await sync.poll("custom", await sync.token("gw"))
    assert polled.files["custom/freeze/freeze.rego"].endswith(b"thaw\n")
    assert (health(sync)["status"], health(sync)["withheld"]) == ("ok", [])


async def test_what_changed_custom_policy_before_the_start_is_not_said_to_be_applied_while_none_can_be_served(
    sync: Sync, custom: Custom
) -> None:
    custom.policy = THAW
    await sync.service.reload()
    await until(lambda: not sync.service.publisher.withheld)
    changed = await until(lambda: revision_of(sync, "custom"))
    custom.policy = None
    await sync.restart()
    await replica_has(sync, "policy", "tenants", "live")
    later = await sync.withdraw("refund")
    await follows(sync, later)
    await replica_has(sync, "live")
    assert await applied(sync, later)
    assert not await applied(sync, changed)
    custom.policy = THAW
    await sync.service.reload()
    await until(lambda: not health(sync)["problems"])
    await replica_has(sync, "custom", "live")
    assert await applied(sync, changed)


async def test_a_sync_that_starts_on_a_broken_configuration_goes_by_the_copy_of_what_was_in_force(sync: Sync) -> None:
    await sync.ledger.note_config(load(sync.config).hash)
    before = await allowed(sync)
    await sync.stop()
    sync.config.write_text(BROKEN)
    await sync.start()
    assert await allowed(sync) == before
    await replica_has(sync, "policy", "custom", "tenants", "live")
    revision = await sync.withdraw("refund")
    await follows(sync, revision)
    await replica_has(sync, "live")
    assert await applied(sync, revision)
    assert any("mcp_servers.payments.mode" in problem for problem in health(sync)["problems"])
    # The copy is followed like the file: a tool that is gone upstream is gone.
    gone = await sync.ledger.put_inventory(inventory("payments", "charge", digest="d2"))
    assert gone
    await until(lambda: sync.service.publisher.settled(gone))
    assert await allowed(sync) == ["payments/charge"]
    sync.config.write_text(FRONT_DOOR)
    await until(lambda: health(sync)["problems"] == [])


@pytest.mark.parametrize("spoilt", [None, b"", b'{"documents": {}}', b"{"])
async def test_without_a_copy_that_is_of_use_a_broken_configuration_starts_nothing(
    sync: Sync, spoilt: bytes | None
) -> None:
    await sync.stop()
    sync.config.write_text(BROKEN)
    copy = sync.folder / "configuration.json"
    copy.unlink() if spoilt is None else copy.write_bytes(spoilt)
    with pytest.raises(ConfigError, match=r"mcp_servers\.payments\.mode"):
        await sync.start()


async def test_a_copy_has_no_secret_in_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    text = FRONT_DOOR.replace(
        "    tool_access:", "    headers: {Authorization: 'Bearer ${file:secret}'}\n    tool_access:"
    )
    async with Sync(tmp_path, text):
        copy = tmp_path / "configuration.json"
        assert copy.stat().st_mode & 0o777 == 0o600
        assert b"hunter2" not in copy.read_bytes()


async def test_a_file_that_no_gateway_has_put_in_force_is_not_published_and_told(sync: Sync) -> None:
    await sync.ledger.note_config(load(sync.config).hash)
    before = await revision_of(sync, "tenants")
    sync.config.write_text(NARROWED)
    await until(lambda: any("no gateway has put in force" in problem for problem in health(sync)["problems"]))
    assert (await allowed(sync), await revision_of(sync, "tenants")) == (["payments/charge", "payments/refund"], before)
    recorded = await sync.ledger.note_config(load(sync.config).hash)
    await until(lambda: sync.service.publisher.settled(recorded))
    assert await allowed(sync) == ["payments/charge"]
    assert await revision_of(sync, "tenants") >= recorded
    assert health(sync)["problems"] == []


async def test_a_file_that_changed_while_sync_was_away_waits_for_its_revision_too(sync: Sync) -> None:
    await sync.ledger.note_config(load(sync.config).hash)
    before = await revision_of(sync, "tenants")
    await sync.stop()
    sync.config.write_text(NARROWED)
    await sync.start()
    assert (await allowed(sync), await revision_of(sync, "tenants")) == (["payments/charge", "payments/refund"], before)
    recorded = await sync.ledger.note_config(load(sync.config).hash)
    await until(lambda: sync.service.publisher.settled(recorded))
    assert await allowed(sync) == ["payments/charge"]


async def test_gateways_that_are_rolled_out_one_after_the_other_take_the_newest_that_one_of_them_recorded(
    sync: Sync,
) -> None:
    first, second = load(sync.config).hash, await hash_of(sync, NARROWED)
    await sync.ledger.note_config(first)
    sync.config.write_text(NARROWED)
    for hash_, expected in (
        (second, ["payments/charge"]),
        (first, ["payments/charge", "payments/refund"]),  # One that is not rolled out yet is started again.
        (second, ["payments/charge"]),
    ):
        recorded = await sync.ledger.note_config(hash_)
        await until(lambda recorded=recorded: sync.service.publisher.settled(recorded))
        assert await allowed(sync) == expected
        assert await revision_of(sync, "tenants") >= recorded


async def test_a_configuration_that_is_nowhere_here_freezes_what_is_published_and_is_applied_by_nobody(
    sync: Sync,
) -> None:
    await sync.ledger.note_config(load(sync.config).hash)
    await replica_has(sync, "policy", "custom", "tenants", "live")
    elsewhere = await sync.ledger.note_config(await hash_of(sync, NARROWED))
    await follows(sync, elsewhere)
    await replica_has(sync, "live")
    assert not await applied(sync, elsewhere)
    assert await allowed(sync) == ["payments/charge", "payments/refund"]
    # What the ledger says of itself goes on meanwhile.
    withdrawn = await sync.withdraw("charge")
    await follows(sync, withdrawn)
    await replica_has(sync, "live")
    assert await applied(sync, withdrawn)
    sync.config.write_text(NARROWED)
    await until(lambda: sync.service.publisher.settled(elsewhere))
    await replica_has(sync, "tenants")
    assert await applied(sync, elsewhere)


async def test_a_sync_whose_files_are_of_another_machine_publishes_no_tenants_and_every_withdrawal(
    tmp_path: Path,
) -> None:
    sync = Sync(tmp_path, WIDENED)
    async with sync:
        await sync.stop()
        (tmp_path / "configuration.json").unlink()
        await sync.ledger.note_config(await hash_of(sync, FRONT_DOOR))
        await sync.start()
        assert health(sync)["withheld"] == ["tenants"]
        assert any("no tenants are published" in problem for problem in health(sync)["problems"])
        assert (await sync.poll("tenants", await sync.token("gw"))).status == 503
        revision = await sync.withdraw("refund")
        await follows(sync, revision)
        await replica_has(sync, "policy", "custom", "live")
        assert await applied(sync, revision)


async def test_what_says_the_same_has_the_same_revision_however_often_sync_is_started(sync: Sync) -> None:
    names = ("policy", "custom", "tenants")
    before = {name: await revision_of(sync, name) for name in names}
    assert len(set(before.values())) == 3
    await sync.withdraw("refund")
    await sync.restart()
    assert {name: await revision_of(sync, name) for name in names} == before


async def test_what_says_something_else_has_a_revision_of_its_own_also_where_it_was_said_before(
    sync: Sync, custom: Custom
) -> None:
    seen = [await revision_of(sync, "custom")]
    for policy in (THAW, FREEZE, THAW):
        custom.policy = policy
        await sync.service.reload()

        async def published(policy: CustomPolicy = policy) -> bool:
            return (await sync.poll("custom", await sync.token("gw"))).files.items() >= policy.files.items()

        await until(published)
        seen.append(await revision_of(sync, "custom"))
    assert seen == sorted(set(seen))


async def test_a_policy_that_cannot_be_recorded_is_not_published_and_everything_else_is(
    sync: Sync, custom: Custom
) -> None:
    before = await revision_of(sync, "custom")
    with closing(sqlite3.connect(sync.ledger_path, isolation_level=None)) as other:
        other.execute("create trigger full before update on bundle begin select raise(abort, 'disk full'); end")
        custom.policy = THAW
        await sync.service.reload()
        await until(lambda: any("custom: cannot be recorded" in problem for problem in health(sync)["problems"]))
        revision = await sync.withdraw("refund")
        await follows(sync, revision)
        assert await revision_of(sync, "custom") == before
        other.execute("drop trigger full")
    await until(lambda: health(sync)["problems"] == [])

    async def published() -> bool:
        return await revision_of(sync, "custom") > revision

    # It is recorded, and so no problem any more, before it is published.
    await until(published)
