"""Tenants over their limits: each refusal is in the trail, alone or in a count, and none keeps the others waiting."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.audit import AuditTrail
from gateway.errors import OverLimit
from gateway.model import CredentialKind, CredentialRef, Principal, RequestInfo
from gateway.recording import Caller
from gateway.turned_away import BREATH_SECONDS, LONGEST_SECONDS, MAX_WAITING, TurnedAway, breath
from tests.support.door import nowhere

if TYPE_CHECKING:
    from gateway.model import AuditEvent

OVER = OverLimit("requests_per_minute", 3.0)


def caller(tenant: str) -> Caller:
    who = Principal("user:jo", CredentialKind.API_KEY, tenant=tenant, credential=CredentialRef("c_1"))
    return Caller(who, RequestInfo("id", "192.0.2.1", 0))


async def test_ten_a_minute_of_a_tenant_are_events_of_their_own_and_the_rest_is_one_with_a_count():
    events: list[AuditEvent] = []
    breaths: list[float] = []

    async def breathe(seconds: float) -> None:
        breaths.append(seconds)

    turned = TurnedAway(AuditTrail(nowhere, observe=events.append), clock=lambda: 5.0, breathe=breathe)
    for _ in range(25):
        # Ids that are alike for as long as an address may be are two tenants all the same.
        for tenant in ("x" * 100 + "a", "x" * 100 + "b"):
            await turned.refuse(caller(tenant), "tools/call", OVER)
    turned.record_folded(everything=True)
    assert len(set(breaths)) > 40
    assert all(0.5 <= seconds / BREATH_SECONDS < 1.5 for seconds in breaths)
    for tenant in ("x" * 100 + "a", "x" * 100 + "b"):
        *singly, folded = [one for one in events if one.tenant == tenant]
        assert len(singly) == 10
        assert {(one.type, one.outcome, one.reason) for one in singly} == {("RequestLimited", "failure", "over_rate")}
        assert singly[0].target == {"action": "tools/call"}
        assert singly[0].actor["credential_id"] == "c_1"
        assert (folded.reason, folded.count, folded.type) == ("repeated", 15, "RequestLimited")


async def test_no_more_than_so_many_hold_their_breath_and_one_that_hangs_up_makes_room():
    end = asyncio.Event()
    turned = TurnedAway(AuditTrail(nowhere), breathe=lambda _: end.wait())
    waiting = [asyncio.create_task(turned.refuse(caller("a"), "tools/call", OVER)) for _ in range(MAX_WAITING)]
    await asyncio.sleep(0)
    await turned.refuse(caller("a"), "tools/call", OVER)
    waiting[0].cancel()
    await asyncio.gather(waiting[0], return_exceptions=True)
    late = asyncio.create_task(turned.refuse(caller("a"), "tools/call", OVER))
    await asyncio.sleep(0)
    assert not late.done()
    end.set()
    await asyncio.gather(*waiting[1:], late)


@pytest.mark.parametrize(
    ("waiting", "seconds"), [(1, BREATH_SECONDS), (20, BREATH_SECONDS), (64, 0.32), (1000, LONGEST_SECONDS)]
)
def test_the_more_are_waiting_the_longer_each_waits_up_to_a_second_or_so(waiting, seconds):
    breaths = [breath(waiting) for _ in range(200)]
    assert 0.5 * seconds <= min(breaths) < 0.7 * seconds
    assert 1.3 * seconds < max(breaths) <= 1.5 * seconds
