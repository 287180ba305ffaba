"""Real OPA fed by the real sync service over HTTP: what it activates, refuses, acknowledges and survives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.model import ToolRef, Withdrawal
from tests.support.opa import running_opa
from tests.support.sync import Sync, event

if TYPE_CHECKING:
    from pathlib import Path


async def test_opa_activates_all_four_bundles_and_enforces_a_withdrawal_from_the_ledger(tmp_path: Path) -> None:
    async with Sync(tmp_path) as sync, running_opa(await sync.opa("gw-1"), tmp_path / "opa") as opa:
        await opa.activated("policy", "custom", "tenants", "live")
        withdrawal = Withdrawal(ToolRef("payments", "refund"), "tenant:b", "user:root", 1)
        revision = await sync.ledger.withdraw(withdrawal, event())
        assert await sync.applied(revision) == (["gw-1"], ["gw-1"])
        withdrawn = await opa.data("portcullis_live/withdrawn")
        assert withdrawn["tenant"]["tenant:b"]["payments/refund"]["by"] == "user:root"
