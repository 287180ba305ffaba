"""What another sync has said counts from when it was seen to be said, for a while, and of the same pair only."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bundles.elsewhere import LEASE_SECONDS, Elsewhere
from gateway.facts import Acknowledgement
from tests.support.clock import Clock

ROW = Acknowledgement("gw-1", "h1", "sync b", "e", 7, ((3, 5),), 10)


@pytest.fixture
def clock() -> Clock:
    return Clock(1000)


@pytest.fixture
def elsewhere(clock: Clock) -> Elsewhere:
    """One that has looked, and seen that nobody says anything."""
    looking = Elsewhere("sync a", clock)
    looking.take([])
    return looking


@pytest.mark.parametrize(("epoch", "revision", "covered"), [
    ("e", 3, True), ("e", 4, False), ("e", 5, False), ("e", 6, True), ("e", 7, True), ("e", 8, False), ("f", 7, False),
])  # fmt: skip
def test_of_one_epoch_every_revision_up_to_the_newest_is_covered_but_what_is_lacking(
    epoch: str, revision: int, covered: bool
) -> None:
    assert ROW.covers(epoch, revision) is covered


def test_what_is_said_counts_for_a_while_and_longer_if_it_is_said_again(elsewhere: Elsewhere, clock: Clock) -> None:
    assert elsewhere.take([ROW])
    clock.advance(LEASE_SECONDS)
    assert not elsewhere.take([ROW])
    assert (elsewhere.of("gw-1", "h1"), elsewhere.heard("gw-1"), elsewhere.anybody) == (ROW, 1000, True)
    clock.advance(1)
    assert not elsewhere.take([ROW])
    assert (elsewhere.of("gw-1", "h1"), elsewhere.heard("gw-1"), elsewhere.anybody) == (None, 1000, False)
    again = replace(ROW, at=11)
    assert elsewhere.take([again])
    assert elsewhere.of("gw-1", "h1") == again


def test_what_was_said_before_the_first_look_is_of_nobody_knows_when(clock: Clock) -> None:
    elsewhere = Elsewhere("sync a", clock)
    elsewhere.take([ROW])
    elsewhere.take([ROW])
    assert (elsewhere.of("gw-1", "h1"), elsewhere.heard("gw-1"), elsewhere.met) == (None, None, False)
    again = replace(ROW, at=11)
    elsewhere.take([again])
    assert (elsewhere.of("gw-1", "h1"), elsewhere.met) == (again, True)


def test_what_was_said_while_nobody_looked_is_of_nobody_knows_when(elsewhere: Elsewhere, clock: Clock) -> None:
    clock.advance(LEASE_SECONDS + 1)
    elsewhere.take([ROW])
    assert elsewhere.of("gw-1", "h1") is None
    elsewhere.take([replace(ROW, at=11)])
    assert elsewhere.of("gw-1", "h1") is not None


def test_what_this_sync_has_said_itself_is_no_news(elsewhere: Elsewhere) -> None:
    assert not elsewhere.take([replace(ROW, sync="sync a")])
    assert elsewhere.of("gw-1", "h1") is None


def test_what_is_said_of_another_pair_of_that_name_is_not_of_this_one(elsewhere: Elsewhere) -> None:
    elsewhere.take([ROW])
    assert elsewhere.of("gw-1", "h2") is None
