"""Rates: what they admit, how long they make wait, and in how much memory (threats A51 and A52)."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.gcra import Limiter, Rate

RATES = st.builds(Rate, st.floats(0.5, 100_000), st.integers(1, 50))
PAUSES = st.lists(st.one_of(st.just(0.0), st.floats(0, 200)), min_size=1, max_size=120)
TEN = Rate(per_minute=10, burst=10)


def moments(pauses: list[float], start: float) -> list[float]:
    found, now = [], start
    for pause in pauses:
        now += pause
        found.append(now)
    return found


@given(RATES, PAUSES, st.floats(0, 1e6))
def test_no_window_of_time_admits_more_than_the_burst_and_what_the_rate_earns_in_it(rate, pauses, start):
    limiter = Limiter()
    admitted = [now for now in moments(pauses, start) if not limiter.take("a", rate, now)]
    for first in range(len(admitted)):
        for last in range(first, len(admitted)):
            earned = (admitted[last] - admitted[first]) / rate.interval
            assert last - first + 1 <= rate.burst + earned + 1e-3


@given(RATES, PAUSES, st.floats(0, 1e6))
def test_whoever_waits_as_told_is_admitted_and_a_refusal_makes_nobody_wait_longer(rate, pauses, start):
    limiter = Limiter()
    for now in moments(pauses, start):
        seconds = limiter.take("a", rate, now)
        if seconds:
            assert math.isclose(limiter.take("a", rate, now), seconds)
            assert math.isclose(limiter.wait("a", rate, now), seconds)
            assert seconds <= rate.interval + 1e-3
            assert limiter.wait("a", rate, now + seconds) == 0


@given(RATES, st.floats(0, 1e6))
def test_a_whole_burst_may_come_at_once_and_not_one_more(rate, now):
    limiter = Limiter()
    assert [limiter.take("a", rate, now) for _ in range(rate.burst)] == [0] * rate.burst
    assert limiter.take("a", rate, now) > 0


@given(RATES, PAUSES)
def test_asking_how_long_to_wait_counts_nothing(rate, pauses):
    asked, silent = Limiter(), Limiter()
    for now in moments(pauses, 0):
        before = asked.wait("a", rate, now)
        assert asked.take("a", rate, now) == silent.take("a", rate, now) == before


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 30)), max_size=150))
def test_keys_do_not_use_up_each_others_rate(questions):
    together, alone, now = Limiter(), {key: Limiter() for key in "abc"}, 0.0
    for key, pause in questions:
        now += pause
        assert together.take(key, TEN, now) == alone[key].take(key, TEN, now)


def test_a_rate_that_changes_counts_at_once_and_what_was_admitted_stays_admitted():
    limiter = Limiter()
    for _ in range(10):
        assert not limiter.take("a", TEN, 0)
    assert limiter.take("a", TEN, 0)
    assert not limiter.take("a", Rate(per_minute=10, burst=11), 0)
    assert limiter.wait("a", Rate(per_minute=10, burst=1), 0) == pytest.approx(66)


def test_a52_a_hundred_thousand_addresses_take_no_more_memory_than_ten_thousand():
    limiter = Limiter()
    for number in range(100_000):
        limiter.take(number, TEN, 0)
    assert len(limiter) == 10_000


def test_the_key_that_was_admitted_longest_ago_is_forgotten_first():
    limiter = Limiter(max_keys=2)
    one = Rate(per_minute=1, burst=1)
    for key, now in (("a", 0), ("b", 1), ("c", 2)):
        assert not limiter.take(key, one, now)
    assert limiter.wait("b", one, 2)
    assert limiter.wait("c", one, 2)
    assert not limiter.wait("a", one, 2)


@pytest.mark.parametrize(("per_minute", "burst"), [(0, 1), (-1, 1), (10, 0)])
def test_a_rate_that_admits_nothing_is_none(per_minute, burst):
    with pytest.raises(ValueError, match="at least one"):
        Rate(per_minute, burst)
