"""Withdrawals against a model: any interleaving of withdraw and restore, on two openings of one ledger."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.ids import Kind, Ref
from gateway.ledger.connect import open_ledger
from gateway.model import AuditEvent, Withdrawal

if TYPE_CHECKING:
    from collections.abc import Coroutine

REFS = st.sampled_from(
    [
        Ref.of_tool("p", "charge"),
        Ref.of_tool("p", "refund"),
        Ref.of_tool("q", "refund"),
        Ref("p", Kind.PROMPT, "refund"),
        Ref("p", Kind.RESOURCE, "refund"),
    ]
)
TENANTS = st.sampled_from([None, "tenant:a", "tenant:b"])
OPENINGS = st.integers(0, 1)
EVENT = AuditEvent(id="0190", time=1, type="ToolRestored", outcome="success")


class Withdrawals(RuleBasedStateMachine):
    """The ledger beside the plainest possible set of (thing, tenant)."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        url = f"sqlite:///{Path(self.folder.name) / 'ledger.db'}"
        self.ledgers = [self.run(open_ledger(url)) for _ in range(2)]
        self.model: set[tuple[Ref, str | None]] = set()
        self.revision = 1
        self.events = 0

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    @rule(opening=OPENINGS, ref=REFS, tenant=TENANTS)
    def withdraw(self, opening: int, ref: Ref, tenant: str | None) -> None:
        self.revision += (ref, tenant) not in self.model
        self.model.add((ref, tenant))
        self.events += 1
        assert self.run(self.ledgers[opening].withdraw(Withdrawal(ref, tenant, "user:a", 1), EVENT)) == self.revision

    @rule(opening=OPENINGS, ref=REFS, tenant=TENANTS)
    def restore(self, opening: int, ref: Ref, tenant: str | None) -> None:
        lifted = {one for one in self.model if one[0] == ref and tenant in (None, one[1])}
        self.model -= lifted
        self.revision += bool(lifted)
        self.events += 1
        revision, found = self.run(self.ledgers[opening].restore(ref, tenant, EVENT))
        assert (revision, {(one.ref, one.tenant) for one in found}) == (self.revision, lifted)

    @rule()
    def restart(self) -> None:
        url = f"sqlite:///{Path(self.folder.name) / 'ledger.db'}"
        self.run(self.ledgers[0].close())
        self.ledgers[0] = self.run(open_ledger(url))

    @invariant()
    def both_openings_say_what_the_model_says(self) -> None:
        for ledger in self.ledgers:
            assert {(one.ref, one.tenant) for one in self.run(ledger.withdrawals())} == self.model
            assert self.run(ledger.meta()).revision == self.revision
            assert len(self.run(ledger.audit(limit=1000))) == self.events

    def teardown(self) -> None:
        for ledger in self.ledgers:
            self.run(ledger.close())
        self.runner.close()
        self.folder.cleanup()


TestWithdrawals = Withdrawals.TestCase
TestWithdrawals.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
