"""What a tenant may use at most: slots that come back on every way out, rates, shares, who is turned away unasked."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import OverLimit
from gateway.model import UNLIMITED, CredentialKind, Limits, ListDecision, Principal
from gateway.quotas import RATE, SLOT_SECONDS, SLOTS, Quotas, rate_of

CONFIG = "0123456789abcdef"
A = Principal("user:jo", CredentialKind.JWT, tenant="team-a")
B = replace(A, tenant="team-b")
FRONT = Principal("service:front", CredentialKind.API_KEY, acting_for="team-a")


@dataclass
class Clock:
    """Seconds that pass when a test says so."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def verdict(slots: int | None = None, often: int | None = None, *, allow: bool = True, config: str = CONFIG):
    limits = Limits(slots, often) if slots or often else UNLIMITED
    return ListDecision(allow=allow, epoch="e", revision=1, config=config, limits=limits)


def refusal(quotas: Quotas, who: Principal, said: ListDecision) -> OverLimit:
    with pytest.raises(OverLimit) as found, quotas.slot(who, said):
        pass
    return found.value


def test_so_many_may_come_at_once_and_then_whoever_waits_as_told_is_admitted():
    clock = Clock()
    quotas = Quotas(clock=clock)
    for _ in range(6):
        with quotas.slot(A, verdict(often=6)):
            pass
    error = refusal(quotas, A, verdict(often=6))
    assert (error.limit, error.retry_after) == (RATE, 10)
    assert quotas.over(A, CONFIG).retry_after == 10
    clock.now += 10
    assert quotas.over(A, CONFIG) is None
    with quotas.slot(A, verdict(often=6)):
        pass
    assert quotas.over(A, CONFIG).limit == RATE


@pytest.mark.parametrize(("often", "at_once"), [(1, 1), (6, 6), (60, 60), (300, 60), (6000, 1000), (60_000, 10_000)])
def test_ten_seconds_worth_may_come_at_once_and_a_small_number_whole(often, at_once):
    rate = rate_of(often)
    assert (rate.per_minute, rate.burst) == (often, at_once)


def test_a_denied_request_counts_for_the_rate_and_takes_no_slot():
    quotas = Quotas(clock=Clock())
    for _ in range(3):
        assert quotas.over(A, CONFIG) is None
        with quotas.slot(A, verdict(1, 3, allow=False)):
            assert not dict(quotas.under_way())
    assert quotas.over(A, CONFIG).limit == RATE
    refusal(quotas, A, verdict(1, 3, allow=False))


def test_a_slot_is_held_while_the_block_lasts_and_comes_back_however_it_ends():
    quotas = Quotas(clock=Clock())
    said = verdict(slots=2)
    with quotas.slot(A, said):
        with quotas.slot(A, said):
            error = refusal(quotas, A, said)
            assert (error.limit, error.retry_after) == (SLOTS, SLOT_SECONDS)
            assert quotas.over(A, CONFIG).limit == SLOTS
            assert dict(quotas.under_way()) == {("team-a",): 2}
        assert quotas.over(A, CONFIG) is None
    for error_type in (ValueError, KeyboardInterrupt, asyncio.CancelledError):
        with pytest.raises(error_type), quotas.slot(A, said):
            raise error_type
    assert not dict(quotas.under_way())


async def test_a_slot_comes_back_from_a_task_that_is_cancelled():
    quotas = Quotas(clock=Clock())

    async def call() -> None:
        with quotas.slot(A, verdict(slots=1)):
            await asyncio.Event().wait()

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    assert quotas.over(A, CONFIG) is not None
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert quotas.over(A, CONFIG) is None
    assert not dict(quotas.under_way())


def test_one_tenant_at_its_limits_takes_nothing_from_another():
    quotas = Quotas(clock=Clock())
    with quotas.slot(A, verdict(1, 1)):
        for said in (verdict(1, 1), verdict(1, 5)):
            assert quotas.over(B, CONFIG) is None
            refusal(quotas, A, verdict(1, 1))
            with quotas.slot(B, replace(said, limits=Limits(1, 5))):
                pass


def test_nobody_is_turned_away_unasked_by_the_limits_of_another_configuration():
    quotas = Quotas(clock=Clock())
    with quotas.slot(A, verdict(1, 1)):
        assert quotas.over(A, CONFIG) is not None
        assert quotas.over(A, "another") is None
        # What was used is not forgotten, and other limits count from the next decision on.
        refusal(quotas, A, verdict(1, 1, config="another"))
        with quotas.slot(A, verdict(9, 600, config="another")):
            assert quotas.over(A, "another") is None


def test_without_limits_nothing_is_counted_and_nobody_refused():
    quotas = Quotas(clock=Clock())
    for who in (A, replace(A, tenant=None)):
        for _ in range(1000):
            with quotas.slot(who, verdict()):
                assert not dict(quotas.under_way())
        assert quotas.over(who, CONFIG) is None


def test_who_acts_for_a_tenant_uses_its_limits_once_that_was_admitted_and_nothing_before():
    quotas = Quotas(clock=Clock())
    for _ in range(5):
        with quotas.slot(FRONT, verdict(1, 1, allow=False)):
            pass
    assert quotas.over(A, CONFIG) is None
    with quotas.slot(FRONT, verdict(1, 1)):
        refusal(quotas, A, verdict(1, 1))
        assert quotas.over(FRONT, CONFIG).limit == RATE
    # A stranger who names the same tenant learns nothing of how busy it is.
    stranger = replace(FRONT, subject="service:other")
    assert quotas.over(stranger, CONFIG) is None


@given(st.integers(1, 50), st.integers(1, 12))
def test_the_shares_of_all_gateways_are_no_less_than_the_limit_and_not_one_more_each(limit, gateways):
    quotas = Quotas(clock=Clock())
    quotas.among(gateways)
    admitted = 0
    while quotas.over(A, CONFIG) is None:
        try:
            with quotas.slot(A, verdict(often=limit)):
                admitted += 1
        except OverLimit:
            break
    assert limit <= admitted * gateways < limit + gateways


def test_the_share_changes_with_the_number_of_gateways_and_none_at_all_changes_nothing():
    quotas = Quotas(clock=Clock())
    quotas.among(2)
    with quotas.slot(A, verdict(2)):
        refusal(quotas, A, verdict(2))
        quotas.among(0)
        refusal(quotas, A, verdict(2))
        quotas.among(1)
        with quotas.slot(A, verdict(2)):
            refusal(quotas, A, verdict(2))


def test_refusals_are_counted_by_limit_and_tenant_and_forgotten_with_the_tenant():
    quotas = Quotas(clock=Clock())
    for who in (A, B):
        with quotas.slot(who, verdict(1)):
            refusal(quotas, who, verdict(1))
            assert quotas.over(who, CONFIG)
    assert dict(quotas.refused()) == {(SLOTS, "team-a"): 2, (SLOTS, "team-b"): 2}
    quotas.retain(lambda tenant: tenant == "team-b")
    assert dict(quotas.refused()) == {(SLOTS, "team-b"): 2}
