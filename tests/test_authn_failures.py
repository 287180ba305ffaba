"""Floods of failed logins become numbers, in bounded memory (threat A52)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.authn.failures import OTHERS, FailureTally, Folded, key_of


def test_the_first_ten_a_minute_are_reported_and_the_rest_is_one_number():
    tally = FailureTally()
    reported = [tally.note("192.0.2.1", 100 + second / 100) for second in range(1000)]
    assert reported == [True] * 10 + [False] * 990
    assert tally.due(159) == ()
    assert tally.due(160) == (Folded("192.0.2.1", 990, 100),)
    assert tally.due(1000) == ()


def test_the_next_minute_begins_anew_and_still_tells_of_the_last():
    tally = FailureTally()
    for _ in range(12):
        tally.note("192.0.2.1", 0)
    assert tally.note("192.0.2.1", 60)
    assert tally.due(61) == (Folded("192.0.2.1", 2, 0),)


def test_addresses_do_not_use_up_each_others_ten():
    tally = FailureTally()
    for _ in range(50):
        tally.note("192.0.2.1", 0)
    assert tally.note("192.0.2.2", 0)


def test_ten_or_fewer_leave_nothing_to_say():
    tally = FailureTally()
    for _ in range(10):
        assert tally.note("192.0.2.1", 0)
    assert tally.due(60) == ()


def test_everything_folded_comes_out_at_shutdown():
    tally = FailureTally()
    for _ in range(11):
        tally.note("192.0.2.1", 0)
    assert tally.due(1, everything=True) == (Folded("192.0.2.1", 1, 0),)


def test_a_customer_with_a_whole_ipv6_network_is_one_address():
    assert key_of("2001:db8::1") == key_of("2001:db8::ffff:1") == "2001:db8::/64"
    assert key_of("2001:db8:0:1::1") != key_of("2001:db8::1")
    assert key_of("::ffff:192.0.2.1") == "192.0.2.1"


def test_what_is_no_address_is_cut_to_a_bounded_length():
    assert len(key_of("x" * 1000)) == 64


def test_more_addresses_than_there_is_room_for_do_not_grow_the_memory():
    tally = FailureTally(max_addresses=100)
    for number in range(10_000):
        for _ in range(11):
            tally.note(f"host-{number}", number / 10_000)
    folded = tally.due(100)
    assert len(folded) <= 201
    assert sum(one.count for one in folded) == 10_000
    assert folded[-1].address == OTHERS


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "c", "d"]), st.floats(0, 30)), max_size=200),
    st.integers(1, 4),
)
def test_no_failure_is_lost_between_reports_and_numbers(failures, room):
    tally, now, reported, counted = FailureTally(max_addresses=room), 0.0, 0, 0
    for address, pause in failures:
        now += pause
        reported += tally.note(address, now)
        counted += sum(one.count for one in tally.due(now))
    counted += sum(one.count for one in tally.due(now, everything=True))
    assert reported + counted == len(failures)
