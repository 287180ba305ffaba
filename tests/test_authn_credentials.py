"""Keys and tokens: hashed on sight, in memory, changed one by one (threats A28 and A64)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import keys
from gateway.authn import CredentialIndex
from gateway.authn.credentials import principal_of
from gateway.authn.last_used import LastUse
from gateway.errors import InvalidCredential, Unavailable
from gateway.model import Credential, CredentialKind, CredentialRef, Principal
from tests.support.clock import Clock

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
TOKEN = replace(
    KEY, id="c_18", kind=CredentialKind.TENANT_TOKEN, principal="token:c_18", role="developer", tenant="tenant:a"
)


def principal(credential: Credential, secret: str = SECRET, now: float = NOW) -> Principal | None:
    known = CredentialIndex([credential]).find(keys.digest(secret), now)
    return principal_of(known) if known else None


def test_a_global_key_speaks_for_its_stored_principal_without_a_tenant():
    assert principal(KEY) == Principal(
        subject="user:root",
        kind=CredentialKind.API_KEY,
        credential=CredentialRef("c_17", role="admin"),
    )


def test_a_tenants_key_is_bound_to_its_tenant_by_scope():
    found = principal(replace(KEY, tenant="tenant:a", principal="service:ci", role=None, expires_at=2_000_000_000_999))
    assert found is not None
    assert found.tenant == "tenant:a"
    assert found.credential == CredentialRef("c_17", expires_at=2_000_000_000)


def test_a_tenant_token_speaks_for_itself_in_its_tenant():
    assert principal(TOKEN) == Principal(
        subject="token:c_18",
        kind=CredentialKind.TENANT_TOKEN,
        tenant="tenant:a",
        credential=CredentialRef("c_18", role="developer"),
    )


def test_a_token_that_is_narrowed_names_the_set_of_what_it_may_see_and_equal_globs_are_one_set():
    scopes = set()
    for tools in (("payments/*", "crm/list"), ("crm/list", "payments/*"), ("crm/list", "payments/*", "crm/list")):
        found = principal(replace(TOKEN, tools=tools))
        assert found is not None
        assert found.credential is not None
        scopes.add(found.credential.scope)
    assert scopes == {keys.scope_of(["payments/*", "crm/list"])}
    assert keys.scope_of(["payments/*"]) not in scopes


def test_an_unknown_secret_is_none_so_that_the_chain_goes_by_its_form():
    assert principal(KEY, keys.mint()) is None


@pytest.mark.parametrize("credential", [KEY, TOKEN], ids=["key", "token"])
def test_a_revoked_credential_is_invalid(credential):
    with pytest.raises(InvalidCredential) as caught:
        principal(replace(credential, revoked_at=1))
    assert caught.value.kind is credential.kind


@pytest.mark.parametrize("credential", [KEY, TOKEN], ids=["key", "token"])
def test_a28_a_credential_expires_at_the_very_millisecond(credential):
    credential = replace(credential, expires_at=int(NOW * 1000) + 1)
    assert principal(credential) is not None
    with pytest.raises(InvalidCredential):
        principal(replace(credential, expires_at=int(NOW * 1000)))


def test_replacing_the_index_forgets_what_is_not_in_it_any_more():
    index = CredentialIndex([KEY])
    other = keys.mint()
    index.replace([replace(KEY, id="c_19", hash=keys.sha256(other))])
    assert index.find(keys.digest(SECRET), NOW) is None
    found = index.find(keys.digest(other), NOW)
    assert found is not None
    assert found.id == "c_19"


@given(st.lists(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=4), max_size=20))
def test_an_index_that_was_changed_step_by_step_is_the_one_that_was_read_whole(steps):
    secrets = [f"secret-{number}" for number in range(10)]
    state: dict[int, Credential] = {}
    index = CredentialIndex()
    for step in steps:
        changed = {
            number: replace(KEY, id=f"c_{number}", hash=keys.sha256(secrets[number]), revoked_at=1 if gone else None)
            for number, gone in step
        }
        state |= changed
        index.put(changed.values())
    whole = CredentialIndex(state.values())

    def seen(of: CredentialIndex, number: int) -> Any:
        try:
            return of.find(keys.digest(secrets[number]), NOW)
        except InvalidCredential as error:
            return str(error)

    assert [seen(index, number) for number in range(10)] == [seen(whole, number) for number in range(10)]
    assert len(index) == len(whole)


def test_no_secret_and_no_name_of_a_credential_is_kept_in_memory():
    index = CredentialIndex([replace(KEY, name="canary-name", created_by="canary-maker")])
    held = repr(list(index._known.items()))
    assert SECRET not in held
    assert "canary" not in held


def test_the_age_of_an_index_is_the_time_since_the_ledger_was_read():
    clock = Clock(1000.0)
    index = CredentialIndex([KEY], clock=clock)
    clock.advance(7)
    assert index.age == 7
    for read in (index.confirm, lambda: index.put([]), lambda: index.replace([])):
        clock.advance(5)
        read()
        assert index.age == 0


class Ledger:
    """Takes what was used, or is away."""

    def __init__(self) -> None:
        self.away = False
        self.touched: list[dict[str, int]] = []

    async def touch(self, used: Any) -> None:
        if self.away:
            raise Unavailable("away")
        self.touched.append(dict(used))


async def test_the_last_use_is_written_in_one_call_and_only_if_there_was_any():
    index, ledger = CredentialIndex([KEY]), Ledger()
    last_used = LastUse(index, ledger.touch)
    await last_used.write()
    for second in range(3):
        index.find(keys.digest(SECRET), NOW + second)
    await last_used.write()
    await last_used.write()
    assert ledger.touched == [{"c_17": int(NOW * 1000) + 2000}]


async def test_a_refused_credential_was_not_used():
    index, ledger = CredentialIndex([replace(KEY, revoked_at=1)]), Ledger()
    with pytest.raises(InvalidCredential):
        index.find(keys.digest(SECRET), NOW)
    await LastUse(index, ledger.touch).write()
    assert ledger.touched == []


async def test_uses_that_could_not_be_written_are_written_later_and_the_newest_counts():
    other = keys.mint()
    index, ledger = CredentialIndex([KEY, replace(KEY, id="c_19", hash=keys.sha256(other))]), Ledger()
    last_used = LastUse(index, ledger.touch)
    index.find(keys.digest(SECRET), NOW)
    index.find(keys.digest(other), NOW)
    ledger.away = True
    await last_used.write()
    index.find(keys.digest(SECRET), NOW + 9)
    await last_used.write()
    ledger.away = False
    await last_used.write()
    assert ledger.touched == [{"c_17": int((NOW + 9) * 1000), "c_19": int(NOW * 1000)}]
