"""API keys: hashed on sight, in memory, replaced whole."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway import keys
from gateway.authn import CredentialIndex
from gateway.errors import InvalidCredential
from gateway.model import Credential, CredentialKind, CredentialRef, Principal

NOW = 1_800_000_000.0
SECRET = keys.mint()
KEY = Credential(
    id="c_17",
    hash=keys.sha256(SECRET),
    prefix=keys.shown(SECRET),
    principal="user:root",
    name="root",
    role="admin",
    tenant=None,
    created_at=0,
    created_by="cli",
)


def principal(credential: Credential, secret: str = SECRET, now: float = NOW) -> Principal | None:
    return CredentialIndex([credential]).principal(keys.sha256(secret), now)


def test_a_global_key_speaks_for_its_stored_principal_without_a_tenant():
    assert principal(KEY) == Principal(
        subject="user:root",
        kind=CredentialKind.API_KEY,
        credential=CredentialRef("c_17", role="admin", scope="global"),
    )


def test_a_tenants_key_is_bound_to_its_tenant_by_scope():
    found = principal(replace(KEY, tenant="tenant:a", principal="service:ci", role=None, expires_at=2_000_000_000_999))
    assert found is not None
    assert found.tenant == "tenant:a"
    assert found.credential == CredentialRef("c_17", scope="tenant:tenant:a", expires_at=2_000_000_000)


def test_an_unknown_key_is_none_so_that_the_chain_goes_by_its_form():
    assert principal(KEY, keys.mint()) is None


def test_a_revoked_key_is_invalid():
    with pytest.raises(InvalidCredential):
        principal(replace(KEY, revoked_at=1))


def test_a_key_expires_at_the_very_millisecond():
    key = replace(KEY, expires_at=int(NOW * 1000) + 1)
    assert principal(key) is not None
    with pytest.raises(InvalidCredential):
        principal(replace(key, expires_at=int(NOW * 1000)))


def test_replacing_the_index_forgets_what_is_not_in_it_any_more():
    index = CredentialIndex([KEY])
    other = keys.mint()
    index.replace([replace(KEY, id="c_18", hash=keys.sha256(other))])
    assert index.find(SECRET) is None
    found = index.find(other)
    assert found is not None
    assert found.id == "c_18"


def test_an_index_finds_a_revoked_key_so_that_an_audit_event_can_name_it():
    found = CredentialIndex([replace(KEY, revoked_at=1)]).find(SECRET)
    assert found is not None
    assert found.id == "c_17"
