"""Which revision a replica has applied follows from which archive it says it has activated."""

from __future__ import annotations

import pytest

from bundles.shelf import CLAIMS_KEPT, Shelf


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
