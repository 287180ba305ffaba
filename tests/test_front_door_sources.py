"""Files that are broken while everything runs: a sync that is started on them keeps withdrawals and rules in force."""

from __future__ import annotations

import json
import os
import shutil
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.files import ROOT
from tests.support.gateway import PATIENT, Portcullis, front_door
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.backend import FakeBackend
    from tests.support.issuer import Issuer

TOO_MUCH = {"amount": 100_000}


def configured(folder: Path, backend: FakeBackend, issuer: Issuer) -> dict[str, Any]:
    """Return the recipe with the worked example of custom policy, in a folder of the test's own."""
    rules = folder / "rules"
    shutil.copytree(ROOT / "examples" / "policies" / "spend_limit", rules / "spend_limit")
    return front_door(backend.url, issuer.url, opa={**PATIENT, "custom_policies": str(rules)})


@pytest.fixture(scope="module")
async def gateway(
    tmp_path_factory: pytest.TempPathFactory, backend: FakeBackend, issuer: Issuer
) -> AsyncIterator[Portcullis]:
    folder = tmp_path_factory.mktemp("sources")
    async with Portcullis(folder, configured(folder, backend, issuer)) as running:
        yield running


def spoil(path: Path) -> str:
    """Break a file and return what it said."""
    text = path.read_text()
    path.write_text(text + "\n}}} broken: [\n")
    return text


async def restarted(gateway: Portcullis) -> str:
    """Kill sync and return what its next life says when it is ready."""
    before = len(gateway.log)
    os.kill(gateway.child("sync"), signal.SIGKILL)

    def said() -> str:
        lines = (line for line in gateway.log[before:].splitlines() if line.startswith("{"))
        texts = (str(json.loads(line)["message"]) for line in lines)
        return next((text for text in texts if text.startswith("sync is ready")), "")

    return await until(said, 20)


async def withdrawn(gateway: Portcullis, key: str) -> tuple[int, str]:
    """Withdraw a tool and give it back; return what the withdrawal was answered with."""
    reply = await gateway.admin("payments/refund/withdraw", key=key)
    await gateway.admin("payments/refund/restore", key=key)
    return reply.status, reply.headers["Portcullis-Applied"]


async def errors(gateway: Portcullis) -> list[str]:
    """Return the errors that doctor finds."""
    _, out, _ = await gateway.cli("doctor", "--json")
    return [one["text"] for one in json.loads(out)["findings"] if one["level"] == "error"]


async def test_a_sync_that_crashes_while_custom_policy_is_broken_leaves_rules_and_withdrawals_in_force(
    gateway: Portcullis, issuer: Issuer
) -> None:
    key, token = await gateway.key(), issuer.mint(tenant_id="tenant:b")
    path = gateway.folder / "rules" / "spend_limit" / "spend_limit.rego"
    good = spoil(path)
    await until(lambda: "custom policy is refused, the last good one stays" in gateway.log)
    assert (await restarted(gateway)).endswith("; not served: custom")

    async def applied() -> bool:
        return await withdrawn(gateway, key) == (200, "1/1")

    await until(applied, 20)
    refused = await gateway.call("charge", TOO_MUCH, token=token)
    assert "amount_over_limit" in str(refused.json["result"])
    assert (await gateway.http("GET", "/health/ready")).status == 200
    found = await errors(gateway)
    assert any("spend_limit.rego" in text for text in found)
    assert "custom: a replica that has none admits nothing until it is mended" in found
    path.write_text(good)

    async def mended() -> bool:
        return await errors(gateway) == []

    await until(mended, 20)
    assert await withdrawn(gateway, key) == (200, "1/1")


async def test_a_sync_that_crashes_while_the_configuration_is_broken_leaves_withdrawals_applied(
    gateway: Portcullis, issuer: Issuer
) -> None:
    key, token = await gateway.key(), issuer.mint(tenant_id="tenant:b")
    good = spoil(gateway.config_path)
    assert "not served" not in await restarted(gateway)

    async def applied() -> bool:
        return await withdrawn(gateway, key) == (200, "1/1")

    await until(applied, 20)
    assert await gateway.tools(token) == ["charge", "refund"]
    assert any("config.yaml" in text for text in await errors(gateway))
    gateway.config_path.write_text(good)


async def test_a_policy_that_is_published_anew_is_in_the_trail(gateway: Portcullis) -> None:
    events = await gateway.events(type="PolicyPublished", target__bundle="custom")
    assert events[-1]["target"]["packages"] == ["spend_limit"]
    assert events[-1]["actor"]["kind"] == "sync"
    assert await gateway.events(type="PolicyPublished", target__bundle="policy")


async def test_a_replica_that_never_had_the_custom_policy_admits_nothing_until_it_is_mended(
    tmp_path: Path, backend: FakeBackend, issuer: Issuer
) -> None:
    config, token = configured(tmp_path, backend, issuer), issuer.mint(tenant_id="tenant:b")
    path = tmp_path / "rules" / "spend_limit" / "spend_limit.rego"
    good = spoil(path)
    async with Portcullis(tmp_path, config, wait_ready=False) as fresh:
        await until(lambda: "; not served: custom" in fresh.log, 20)
        path.write_text(good)
        await fresh.ready()
        assert await fresh.tools(token) == ["charge", "refund"]
