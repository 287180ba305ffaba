"""Real OPA fed by the real sync service over HTTP: what it activates, refuses, acknowledges and survives."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from bundles.bundle import Content, archive, build, canonical
from bundles.signing import SigningKey
from tests.support.opa import RunningOpa, running_opa
from tests.support.sync import Polled, Sync
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

BUNDLES = ("policy", "custom", "tenants", "live")


@contextlib.asynccontextmanager
async def replica(sync: Sync, name: str = "gw-1", **changes: Any) -> AsyncIterator[RunningOpa]:
    """Run an OPA on this sync until all four bundles are active, and then for the block."""
    async with running_opa(await sync.opa(name, **changes), sync.folder / f"{name}.opa") as opa:
        await opa.activated(*BUNDLES)
        yield opa


async def tools(opa: RunningOpa, tenant: str) -> list[str]:
    """Return what the shipped policy lists for an agent of the tenant."""
    question = {
        "v": 2,
        "action": "tools/list",
        "kind": "tool",
        "mode": "front_door",
        "view": "flat",
        "principal": {
            "subject": "user:jo", "kind": "jwt", "issuer": "https://auth.example.com", "tenant": tenant,
            "acting_for": None, "groups": [],
            "scopes": [], "credential": {"id": "c", "role": None, "scope": None, "expires_at": None},
        },
        "target": {"name": None, "server": None},
        "request": {"id": "1", "ip": "127.0.0.1", "time": int(time.time())},
        "untrusted": {"client": {}},
    }  # fmt: skip
    return sorted((await opa.data("portcullis/list/decision", question) or {}).get("ids", []))


async def errors(sync: Sync, name: str = "gw-1") -> dict[str, str]:
    described = (await sync.control_get("/replicas"))["replicas"]
    return next((each["errors"] for each in described if each["name"] == name), {})


async def test_four_signed_bundles_make_the_shipped_policy_decide(tmp_path: Path) -> None:
    async with Sync(tmp_path) as sync, replica(sync) as opa:
        assert await tools(opa, "tenant:b") == ["payments/charge", "payments/refund"]
        assert await tools(opa, "tenant:a") == ["payments/beta_tool", "payments/charge", "payments/legacy_charge"]
        assert await tools(opa, "tenant:c") == []


async def test_a_withdrawal_is_enforced_by_every_replica_when_it_is_said_to_be(tmp_path: Path) -> None:
    async with Sync(tmp_path) as sync, replica(sync, "gw-1") as one, replica(sync, "gw-2") as two:
        for _ in range(5):
            revision = await sync.withdraw("refund", "tenant:b")
            assert await sync.applied(revision) == (["gw-1", "gw-2"], ["gw-1", "gw-2"])
            assert [await tools(opa, "tenant:b") for opa in (one, two)] == [["payments/charge"]] * 2
            revision = await sync.restore("refund")
            assert await sync.applied(revision) == (["gw-1", "gw-2"], ["gw-1", "gw-2"])
            assert [len(await tools(opa, "tenant:b")) for opa in (one, two)] == [2, 2]


async def test_a_replica_that_is_down_is_told_apart_from_one_that_has_applied(tmp_path: Path) -> None:
    async with Sync(tmp_path) as sync, replica(sync, "gw-1"):
        async with replica(sync, "gw-2"):
            pass
        assert await sync.applied(await sync.withdraw("refund"), wait=0.5) == (["gw-1"], ["gw-1", "gw-2"])


async def test_opa_started_while_sync_is_down_serves_the_withdrawals_it_has_on_disk(tmp_path: Path) -> None:
    async with Sync(tmp_path) as sync:
        async with replica(sync) as opa:
            revision = await sync.withdraw("refund")
            assert await sync.applied(revision) == (["gw-1"], ["gw-1"])
        await sync.stop()
        async with replica(sync) as opa:
            assert await tools(opa, "tenant:b") == ["payments/charge"]
            assert await opa.data("portcullis_live/revision") == revision


async def test_sync_that_comes_back_is_caught_up_with_and_acknowledged_anew(tmp_path: Path) -> None:
    async with Sync(tmp_path) as sync, replica(sync) as opa:
        await sync.stop()
        revision = await sync.withdraw("refund")
        assert await tools(opa, "tenant:b") == ["payments/charge", "payments/refund"]
        await sync.start()
        assert await sync.applied(revision, wait=10) == (["gw-1"], ["gw-1"])
        assert await tools(opa, "tenant:b") == ["payments/charge"]


async def test_a_held_poll_is_one_request(tmp_path: Path) -> None:
    async with Sync(tmp_path) as sync, replica(sync, long_poll_seconds=1):
        replicas = sync.service.publisher.replicas
        await until(lambda: replicas.describe("gw-1")["polling"] == sorted(BUNDLES))
        before = replicas.describe("gw-1")["polls"]

        def since(name: str) -> int:
            return int(replicas.describe("gw-1")["polls"][name]) - int(before[name])

        # Two ends of a wait of one second each: a flood would have asked thousands of times by then.
        await until(lambda: min(map(since, BUNDLES)) >= 2)
        assert max(map(since, BUNDLES)) <= 4


def signed(files: dict[str, bytes], key: SigningKey, scope: str, covered: set[str]) -> bytes:
    """Return an archive whose signature covers some of its files, as an attacker might make it."""
    honest = build(scope, Content("portcullis_live", {name: files[name] for name in covered}), 9, key)
    mine = Polled(200, None, "", honest).files
    return archive({**mine, **files})


OTHER = SigningKey.generate()


def forged(good: dict[str, bytes], key: SigningKey) -> dict[str, bytes]:
    """Return archives that lift every withdrawal, each wrong in one way."""
    name = "portcullis_live/data.json"
    document = json.loads(good[name])
    document["withdrawn"] = {"global": {}, "tenant": {}}
    free = {name: canonical(document)}
    content = Content("portcullis_live", free)
    impostor = SigningKey.generate()
    impostor.id = key.id
    return {
        "unsigned": archive({**free, ".manifest": good[".manifest"]}),
        "empty signatures": archive({**free, ".manifest": good[".manifest"], ".signatures.json": b'{"signatures":[]}'}),
        "of another key": build("live", content, 9, OTHER),
        "of another key under our key's id": build("live", content, 9, impostor),
        "of another scope": build("tenants", content, 9, key),
        "tampered": archive({**good, **free}),
        "with a file nobody signed": signed({**good, "x.rego": b"package portcullis_live.x\n"}, key, "live", {name}),
        "not an archive": b"nonsense",
    }


@pytest.mark.parametrize("two_keys", [False, True], ids=["one key", "two keys"])
async def test_a33_a_bundle_that_is_not_signed_as_it_must_be_changes_nothing(tmp_path: Path, two_keys: bool) -> None:
    async with Sync(tmp_path) as sync:
        keys = {sync.key.id: sync.key.public_pem}
        if two_keys:
            spare = SigningKey.generate()
            keys[spare.id] = spare.public_pem
        async with replica(sync, keys=keys) as opa:
            assert await sync.applied(await sync.withdraw("refund")) == (["gw-1"], ["gw-1"])
            publisher = sync.service.publisher
            good = (await sync.poll("live", await sync.token("gw-1"))).files
            revision = publisher.revision
            for wrong, body in forged(good, sync.key).items():
                publisher.put("live", wrong, body, revision, publisher.claim("live", revision))
                await until(lambda: errors_of_live(sync), what=f"OPA refuses a bundle {wrong}")
                assert await tools(opa, "tenant:b") == ["payments/charge"], wrong
                # A good one heals it, which also shows that the error was this one's.
                revision = await sync.withdraw(f"healed/{wrong}")
                assert await sync.applied(revision) == (["gw-1"], ["gw-1"]), wrong
                await until(lambda: no_errors(sync))


async def errors_of_live(sync: Sync) -> bool:
    return "live" in await errors(sync)


async def no_errors(sync: Sync) -> bool:
    return not await errors(sync)


async def test_keys_are_changed_without_a_moment_in_which_bundles_are_refused(tmp_path: Path) -> None:
    async with Sync(tmp_path) as sync:
        old, new = sync.key, SigningKey.generate()
        both = {old.id: old.public_pem, new.id: new.public_pem}
        async with replica(sync, keys=both):
            assert await sync.applied(await sync.withdraw("charge")) == (["gw-1"], ["gw-1"])
            sync.key = new
            await sync.service.reload()
            revision = await sync.withdraw("refund")
            assert await sync.applied(revision) == (["gw-1"], ["gw-1"])
            assert await errors(sync) == {}
        await sync.stop()
        async with replica(sync, keys={new.id: new.public_pem}) as opa:
            assert await opa.data("portcullis_live/revision") == revision


async def test_opa_that_does_not_know_the_key_admits_nothing(tmp_path: Path) -> None:
    async with Sync(tmp_path) as sync:
        config = await sync.opa("gw-1", keys={OTHER.id: OTHER.public_pem})
        async with running_opa(config, tmp_path / "opa") as opa:
            await until(lambda: errors_of_all(sync))
            assert await tools(opa, "tenant:b") == []
            assert [await opa.revision(name) for name in BUNDLES] == [None] * 4


async def errors_of_all(sync: Sync) -> bool:
    return set(await errors(sync)) == set(BUNDLES)


async def test_line_separators_in_data_do_not_break_the_signature(tmp_path: Path) -> None:
    by = "user:a\u2028b\u2029<&>\u00e9\x7f\x01\U0001f600"
    async with Sync(tmp_path) as sync, replica(sync) as opa:
        assert await sync.applied(await sync.withdraw("refund", by=by)) == (["gw-1"], ["gw-1"])
        assert await opa.data("portcullis_live/withdrawn/global/payments%2Frefund/by") == by
