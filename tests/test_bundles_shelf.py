"""Which revision a replica has applied follows from which archive it says it has activated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundles.shelf import CLAIMS_KEPT, Shelf, united


def shelf() -> Shelf:
    return Shelf("live", "epoch", "boot")


def etag(number: int) -> str:
    return f'"live-epoch-boot.{number}"'


def test_a_revision_that_changed_the_bundle_is_applied_once_its_archive_is_named() -> None:
    live = shelf()
    live.put(b"", 5, live.claim(5))
    live.put(b"", 6, live.claim(6))
    live.heard("gw", etag(1))
    assert (live.applied("gw", 5), live.applied("gw", 6)) == (True, False)
    live.heard("gw", etag(2))
    assert live.applied("gw", 6)


def test_a_revision_that_did_not_change_the_bundle_waits_for_nobody() -> None:
    live = shelf()
    live.put(b"", 5, live.claim(5))
    live.settle(6)
    assert live.applied("gw", 6)
    assert not live.applied("gw", 5)


def test_of_a_revision_not_seen_yet_nothing_is_known() -> None:
    live = shelf()
    live.put(b"", 5, live.claim(5))
    live.heard("gw", etag(1))
    assert not live.applied("gw", 6)


def test_a_change_still_being_built_is_applied_nowhere_and_holds_up_no_other_revision() -> None:
    tenants = shelf()
    tenants.put(b"", 5, tenants.claim(5))
    tenants.heard("gw", etag(1))
    building = tenants.claim(6)
    tenants.settle(7)
    assert (tenants.applied("gw", 6), tenants.applied("gw", 7)) == (False, True)
    tenants.put(b"", 6, building)
    assert not tenants.applied("gw", 6)
    tenants.heard("gw", etag(2))
    assert tenants.applied("gw", 6)


def test_a_build_settles_every_change_that_piled_up_before_it() -> None:
    tenants = shelf()
    tenants.put(b"", 5, tenants.claim(5))
    tenants.claim(6)
    tenants.put(b"", 7, tenants.claim(7))
    tenants.heard("gw", etag(2))
    assert tenants.applied("gw", 6)


def test_a_change_that_came_from_a_file_belongs_to_the_next_revision() -> None:
    tenants = shelf()
    tenants.put(b"", 5, tenants.claim(5))
    tenants.heard("gw", etag(1))
    tenants.put(b"", 5, tenants.claim(5))
    tenants.settle(6)
    tenants.settle(7)
    assert (tenants.applied("gw", 6), tenants.applied("gw", 7)) == (False, True)
    tenants.heard("gw", etag(2))
    assert tenants.applied("gw", 6)


def test_a_change_from_a_file_and_then_one_from_the_ledger_both_belong_to_it() -> None:
    tenants = shelf()
    tenants.put(b"", 5, tenants.claim(5))
    tenants.put(b"", 5, tenants.claim(5))
    tenants.put(b"", 6, tenants.claim(6))
    tenants.heard("gw", etag(2))
    assert not tenants.applied("gw", 6)
    tenants.heard("gw", etag(3))
    assert tenants.applied("gw", 6)


def test_a_heartbeat_asks_nobody_to_catch_up() -> None:
    live = shelf()
    live.put(b"", 5, live.claim(5))
    live.heard("gw", etag(1))
    live.put(b"", 5)
    assert live.applied("gw", 5)


def test_a_replica_that_starts_again_has_nothing_until_it_says_so() -> None:
    live = shelf()
    live.put(b"", 5, live.claim(5))
    live.heard("gw", etag(1))
    live.heard("gw", "")
    assert not live.applied("gw", 5)


@pytest.mark.parametrize(
    "foreign",
    ['"live-epoch-other.9"', '"live-older-boot.9"', '"tenants-epoch-boot.9"', "live-epoch-boot.9", '"9"', "*"],
)
def test_what_another_life_of_sync_has_served_acknowledges_nothing(foreign: str) -> None:
    live = shelf()
    live.put(b"", 5, live.claim(5))
    live.heard("gw", foreign)
    assert not live.applied("gw", 5)


def test_a_number_that_was_never_served_acknowledges_nothing_of_the_future() -> None:
    live = shelf()
    live.put(b"", 5, live.claim(5))
    live.heard("gw", etag(99))
    live.put(b"", 6, live.claim(6))
    assert not live.applied("gw", 6)


def test_a_poll_that_names_several_etags_has_the_newest() -> None:
    live = shelf()
    live.put(b"", 5, live.claim(5))
    live.put(b"", 6, live.claim(6))
    live.heard("gw", f"{etag(2)}, {etag(1)}")
    assert live.applied("gw", 6)


def test_claims_long_past_are_forgotten_and_still_answered_for() -> None:
    live = shelf()
    for revision in range(1, CLAIMS_KEPT + 100):
        live.put(b"", revision, live.claim(revision))
    assert not live.applied("gw", 1)
    live.heard("gw", etag(CLAIMS_KEPT + 99))
    assert live.applied("gw", 1)


STEPS = st.lists(
    st.sampled_from(["publish", "build", "change", "settle", "file", "catch up", "start again"]), max_size=40
)


@given(STEPS)
def test_what_a_replica_lacks_is_what_it_has_not_applied(steps: list[str]) -> None:
    tenants, revision, building, has = shelf(), 1, None, 0
    tenants.put(b"", 1, tenants.claim(1))
    for step in steps:
        revision += step in ("publish", "change", "settle")
        match step:
            case "publish":
                tenants.put(b"", revision, tenants.claim(revision))
                building = None
            case "change":
                building = tenants.claim(revision)
            case "file":
                building = tenants.claim(tenants.through)
            case "build" if building:
                tenants.put(b"", revision, building)
                building = None
            case "settle":
                tenants.settle(revision)
            case "catch up" | "start again":
                has = tenants.served.sequence if tenants.served and step == "catch up" else 0
                tenants.heard("gw", etag(has))
    through, lacking = united(tenants.through, tenants.lacking("gw"))
    for one in range(1, tenants.through + 1):
        lacks = one > through or any(above < one <= upto for above, upto in lacking)
        assert tenants.applied("gw", one) is not lacks, (one, through, lacking)


def test_what_is_lacking_of_changes_so_long_ago_that_each_is_not_known_any_more_is_all_of_them() -> None:
    live = shelf()
    for revision in range(1, CLAIMS_KEPT + 12):
        live.put(b"", revision, live.claim(revision))
    live.heard("gw", etag(5))
    assert united(live.through, live.lacking("gw")) == (-1, ())
    live.heard("gw", etag(500))
    assert united(live.through, live.lacking("gw")) == (500, ())


@pytest.mark.parametrize(
    ("through", "lacking", "had"),
    [
        (9, [], (9, ())),
        (9, [(2, 4)], (9, ((2, 4),))),
        (9, [(6, 7), (2, 4), (3, 5)], (9, ((2, 5), (6, 7)))),
        (9, [(2, 4), (4, 9)], (2, ())),
        (9, [(1, 2), (7, 9)], (7, ((1, 2),))),
        (9, [(-1, 12)], (-1, ())),
    ],
    ids=str,
)
def test_ranges_that_touch_are_one_and_the_last_is_the_end(
    through: int, lacking: list[tuple[int, int]], had: tuple[int, tuple[tuple[int, int], ...]]
) -> None:
    assert united(through, lacking) == had
