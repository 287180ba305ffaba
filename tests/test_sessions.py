"""Sessions as sealed values: whose they are, how long they last, what a replica remembers of them beside."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway import sessions as rules
from gateway.errors import UnknownSession
from gateway.model import CredentialKind, CredentialRef, Principal
from gateway.seals import MAX_SECONDS, Seals
from gateway.sessions import Sessions, owner_of
from tests.support.clock import Clock

NOW = 1_800_000_000.0
JO = Principal("user:jo", CredentialKind.API_KEY, "tenant:a", credential=CredentialRef("c_1"))


def sessions(now: float = NOW, secret: bytes = b"shared") -> Sessions:
    clock = Clock(now)
    return Sessions(Seals(secret, clock=clock), clock=clock)


def opened(who: Principal = JO, *endpoint: str):
    session, sealed = sessions().open(owner_of(who, *endpoint), who, "2025-11-25", {"sampling": {}}, {"name": "c"})
    return session, sealed


def test_any_replica_reads_what_was_agreed_on():
    session, sealed = opened()
    assert sessions().find(owner_of(JO), sealed) == session
    assert (session.version, session.capabilities, session.client) == ("2025-11-25", {"sampling": {}}, {"name": "c"})
    assert session.id not in sealed


@pytest.mark.parametrize(
    "other",
    [
        replace(JO, subject="user:al"),
        replace(JO, tenant="tenant:b"),
        replace(JO, tenant=None),
        replace(JO, issuer="https://idp"),
        replace(JO, kind=CredentialKind.JWT),
        replace(JO, credential=CredentialRef("c_2")),
        replace(JO, credential=None),
    ],
)
def test_whoever_differs_in_anything_does_not_know_the_session(other):
    _, sealed = opened()
    with pytest.raises(UnknownSession):
        sessions().find(owner_of(other), sealed)


def test_a_session_is_of_one_endpoint_and_one_installation():
    _, sealed = opened(JO, "flat")
    assert sessions().find(owner_of(JO, "flat"), sealed)
    for reader, owner in ((sessions(), owner_of(JO, "server", "x")), (sessions(secret=b"other"), owner_of(JO, "flat"))):
        with pytest.raises(UnknownSession):
            reader.find(owner, sealed)


def test_a_new_token_of_the_same_subject_goes_on_with_the_session():
    jwt = Principal(
        "user:jo", CredentialKind.JWT, "tenant:a", "https://idp", credential=CredentialRef("jti-1", expires_at=1)
    )
    _, sealed = opened(jwt)
    assert sessions().find(owner_of(replace(jwt, credential=CredentialRef("jti-2"))), sealed)


@pytest.mark.parametrize(("expires_in", "lasts"), [(None, MAX_SECONDS), (60, 60), (10 * MAX_SECONDS, MAX_SECONDS)])
def test_a_session_lasts_no_longer_than_a_day_nor_than_its_key(expires_in, lasts):
    expires_at = None if expires_in is None else int(NOW) + expires_in
    who = replace(JO, credential=CredentialRef("c_1", expires_at=expires_at))
    session, sealed = opened(who)
    assert session.expires_at == NOW + lasts
    assert sessions(NOW + lasts - 1).find(owner_of(who), sealed)
    with pytest.raises(UnknownSession):
        sessions(NOW + lasts).find(owner_of(who), sealed)


def test_an_ended_session_is_unknown_at_once_and_has_no_level_any_more():
    here = sessions()
    session, sealed = here.open(owner_of(JO), JO, "2025-11-25", {}, {})
    here.set_level(session, "error")
    assert here.level(session) == "error"
    here.end(session)
    assert here.level(session) is None
    with pytest.raises(UnknownSession):
        here.find(owner_of(JO), sealed)


def test_what_is_remembered_is_bounded_and_the_oldest_is_forgotten_first():
    known: dict[str, int] = {}
    for number in range(rules.MAX_REMEMBERED + 3):
        rules.remember(known, str(number), number)
    rules.remember(known, "5", 5)
    assert len(known) == rules.MAX_REMEMBERED
    assert next(iter(known)) == "3"
    assert list(known)[-1] == "5"
