"""Sealed values: every replica of an installation reads them, and nobody else reads, alters or borrows one."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.seals import DAY_SECONDS, MAX_SECONDS, BrokenSeal, Seals
from tests.support.clock import Clock

NOON = 20_000 * DAY_SECONDS + DAY_SECONDS // 2
SECRET = b"what all gateways of one installation share"
PURPOSES = st.sampled_from(["session", "state", "event"])


def seals(secret: bytes = SECRET, now: float = NOON) -> Seals:
    return Seals(secret, clock=Clock(now))


@given(value=st.binary(max_size=300), owner=st.binary(max_size=60), purpose=PURPOSES)
def test_every_replica_reads_what_another_has_sealed(value: bytes, owner: bytes, purpose: str):
    sealed = seals().seal(purpose, value, bound_to=owner, expires_at=NOON + 60)
    assert seals().unseal(purpose, sealed, bound_to=owner) == value
    assert sealed.isascii()
    assert sealed.isprintable()
    assert not set(sealed) & set(' ",;=\\')


@given(value=st.binary(min_size=4, max_size=100), owner=st.binary(max_size=60), other=st.binary(max_size=60))
def test_a_seal_opens_for_nobody_else_and_for_nothing_else(value: bytes, owner: bytes, other: bytes):
    sealed = seals().seal("session", value, bound_to=owner, expires_at=NOON + 60)
    assert value not in base64.urlsafe_b64decode(sealed + "==")
    attempts = [(seals(), "state", owner), (seals(b"another installation"), "session", owner)]
    if other != owner:
        attempts.append((seals(), "session", other))
    for one, purpose, who in attempts:
        with pytest.raises(BrokenSeal):
            one.unseal(purpose, sealed, bound_to=who)


@given(data=st.data())
def test_a_seal_that_was_altered_in_one_character_does_not_open(data: st.DataObject):
    sealed = seals().seal("state", b"what the server said", bound_to=b"jo", expires_at=NOON + 60)
    at = data.draw(st.integers(0, len(sealed) - 1))
    character = data.draw(st.characters(codec="utf-8").filter(lambda one: one != sealed[at]))
    for altered in (sealed[:at] + character + sealed[at + 1 :], sealed[:at], sealed + character):
        with pytest.raises(BrokenSeal):
            seals().unseal("state", altered, bound_to=b"jo")


@given(text=st.text(max_size=80))
def test_any_other_text_is_no_seal(text: str):
    with pytest.raises(BrokenSeal):
        seals().unseal("state", text, bound_to=b"")


def test_two_seals_of_one_value_have_nothing_in_common():
    first, second = (seals().seal("event", b"same", bound_to=b"jo", expires_at=NOON + 60) for _ in range(2))
    assert first != second


@pytest.mark.parametrize(("later", "holds"), [(0, True), (59, True), (60, False), (DAY_SECONDS, False)])
def test_a_seal_holds_until_its_time_and_not_a_second_longer(later: int, holds: bool):
    sealed = seals().seal("state", b"value", bound_to=b"jo", expires_at=NOON + 60)
    reader = seals(now=NOON + later)
    if holds:
        assert reader.unseal("state", sealed, bound_to=b"jo") == b"value"
    else:
        with pytest.raises(BrokenSeal):
            reader.unseal("state", sealed, bound_to=b"jo")


def test_keys_change_every_day_and_yesterdays_is_still_read():
    midnight = NOON + DAY_SECONDS // 2
    sealed = seals(now=midnight - 1).seal("session", b"value", bound_to=b"jo", expires_at=midnight + DAY_SECONDS - 2)
    next_day = seals(now=midnight + DAY_SECONDS - 3)
    assert next_day.unseal("session", sealed, bound_to=b"jo") == b"value"
    # A replica whose clock is behind by a moment around midnight reads it, too.
    early = seals(now=midnight + 1).seal("session", b"value", bound_to=b"jo", expires_at=midnight + 60)
    assert seals(now=midnight - 1).unseal("session", early, bound_to=b"jo") == b"value"


def test_a_seal_is_not_made_for_longer_than_its_key_is_known():
    with pytest.raises(ValueError, match="at most"):
        seals().seal("session", b"value", bound_to=b"jo", expires_at=NOON + MAX_SECONDS + 1)
