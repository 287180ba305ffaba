"""Several issuers: each speaks for itself alone, in its own terms (threats A02, A04, A13 and A14)."""

from __future__ import annotations

import time
from typing import Any

import pytest

from gateway import keys
from gateway.authn import Authn, CredentialIndex
from gateway.authn.issuers import Issuers
from gateway.endpoints.discovery import document
from gateway.errors import InvalidCredential, KeysUnavailable
from gateway.model import CredentialKind, CredentialRef, Principal, Question, RequestInfo
from gateway.pdp.question import lane
from tests.support.configs import front_door
from tests.support.issuer import ABSENT, Issuer, auth_of, auth_of_all, make_key, sign
from tests.support.tokens import admit, refused


def entry(issuer: Issuer, tenant: str, **changes: Any) -> dict[str, Any]:
    """Return how the configuration trusts an issuer, for one tenant."""
    return {"issuer": issuer.url, "audience": "mcp-hangar", "tenants": [tenant], **changes}


@pytest.fixture(scope="module")
async def one():
    async with Issuer().serve() as running:
        running.keys = [make_key(kid="same")]
        yield running


@pytest.fixture(scope="module")
async def two():
    async with Issuer().serve() as running:
        running.keys = [make_key(kid="same")]
        yield running


@pytest.fixture(scope="module")
async def authn(one, two):
    authn = Authn(auth_of_all(entry(one, "tenant:a"), entry(two, "tenant:b")), CredentialIndex())
    yield authn
    await authn.close()


async def test_the_same_name_from_two_issuers_is_two_principals(one, two, authn):
    found = [
        await admit(authn, one.mint(sub="jo", groups=["ops"])),
        await admit(authn, two.mint(sub="jo", groups=["ops"], tenant_id="tenant:b")),
    ]
    assert [who.subject for who in found] == ["user:jo", "user:jo"]
    assert [who.issuer for who in found] == [one.url, two.url]
    without = [await admit(authn, issuer.mint(sub="jo", tenant_id=ABSENT)) for issuer in (one, two)]
    assert len({who.identity for who in (*found, *without)}) == 4
    request = RequestInfo("id", "192.0.2.1", 0)
    assert len({lane(Question("tools/list", who, request)) for who in without}) == 2


def test_no_subject_can_be_written_so_that_it_takes_anothers_turn():
    def turn(subject: str, issuer: str | None = None, acting_for: str | None = None) -> str:
        who = Principal(
            subject, CredentialKind.API_KEY, issuer=issuer, credential=CredentialRef("c"), acting_for=acting_for
        )
        return lane(Question("tools/list", who, RequestInfo("id", "192.0.2.1", 0)))

    assert turn("user:jo", "https://a") != turn("https://a  user:jo")
    assert turn("service:x", acting_for="tenant:a") != turn("tenant:a service:x")


async def test_a14_an_issuer_speaks_for_its_own_tenants_only(one, two, authn):
    assert (await admit(authn, two.mint(tenant_id="tenant:b"))).tenant == "tenant:b"
    await refused(authn, two.mint(tenant_id="tenant:a"))
    await refused(authn, one.mint(tenant_id="tenant:b"))


@pytest.mark.parametrize("form", ["{}/", "{}x", " {}", "{} ", "list", "object"])
async def test_a14_an_issuer_is_known_by_its_exact_name_alone(one, authn, form):
    names = {"list": [one.url], "object": {"iss": one.url}}
    await refused(authn, one.mint(iss=names.get(form, form.format(one.url))))


async def test_a14_a_token_signed_by_one_issuer_in_the_name_of_another_is_refused_though_their_key_ids_are_equal(
    one, two, authn
):
    await refused(authn, two.mint(iss=one.url))
    await refused(authn, one.mint(iss=two.url, tenant_id="tenant:b"))
    twice = f'{{"iss": "{one.url}", ' + str(two.claims(tenant_id="tenant:b")).replace("'", '"')[1:]
    await refused(authn, sign(two.header(), twice, two.keys[0], "ES256"))


async def test_a02_a_remembered_token_of_one_issuer_says_nothing_for_another(one, two):
    keys_of_both = make_key(kid="both")
    one.keys, two.keys, before = [keys_of_both], [keys_of_both], (one.keys, two.keys)
    first = Authn(auth_of_all(entry(one, "tenant:a"), entry(two, "tenant:a", audience="two")), CredentialIndex())
    try:
        token = one.mint()
        assert (await admit(first, token)).issuer == one.url
        assert (await admit(first, two.mint(aud="two"))).issuer == two.url
        second = first.renewed(
            auth_of_all(entry(two, "tenant:a"), entry(two, "tenant:a") | {"issuer": "https://x.test"})
        )
        await refused(second, token)
        await second.close()
    finally:
        one.keys, two.keys = before
        await first.close()


async def test_each_issuer_has_its_own_audience_claims_algorithms_and_token_types(one, two):
    terms = {"audience": "two", "subject_claim": "email", "tenant_claim": "org", "token_types": ["at+jwt"]}
    other = entry(two, "tenant:b", **terms, algorithms=["ES384"])
    authn = Authn(auth_of_all(entry(one, "tenant:a"), other), CredentialIndex())
    assert await admit(authn, one.mint({"typ": "JWT"}))
    await refused(authn, two.mint(aud="two", email="jo@two", org="tenant:b"))
    narrowed = authn.renewed(auth_of_all(entry(one, "tenant:a"), other | {"algorithms": ["ES256"]}))
    found = await admit(narrowed, two.mint(aud="two", email="jo@two", org="tenant:b"))
    assert (found.subject, found.tenant) == ("user:jo@two", "tenant:b")
    await refused(narrowed, two.mint(email="jo@two", org="tenant:b"))
    await refused(narrowed, two.mint({"typ": "JWT"}, aud="two", email="jo@two", org="tenant:b"))
    await refused(narrowed, one.mint(aud="two"))
    await narrowed.close()


async def test_an_issuer_that_is_away_takes_nothing_from_the_others():
    async with Issuer().serve() as one, Issuer().serve() as two:
        one.status = 503
        authn = Authn(auth_of_all(entry(one, "tenant:a"), entry(two, "tenant:b")), CredentialIndex())
        with pytest.raises(KeysUnavailable):
            await admit(authn, one.mint())
        assert await admit(authn, two.mint(tenant_id="tenant:b"))
        await authn.close()


async def test_each_issuers_keys_survive_a_reload_by_themselves():
    async with Issuer().serve() as one, Issuer().serve() as two:
        first = Authn(auth_of_all(entry(one, "tenant:a"), entry(two, "tenant:b")), CredentialIndex())
        assert await admit(first, one.mint())
        assert await admit(first, two.mint(tenant_id="tenant:b"))
        moved = entry(one, "tenant:a", jwks_uri=f"{one.url}/jwks")
        second = first.renewed(auth_of_all(moved, entry(two, "tenant:b", leeway_seconds=5)))
        await first.close(second)
        assert await admit(second, one.mint())
        assert await admit(second, two.mint(tenant_id="tenant:b"))
        assert (one.jwks_fetches, two.jwks_fetches) == (2, 1)
        third = second.renewed(auth_of(two))
        await second.close(third)
        await refused(third, one.mint())
        assert await admit(third, two.mint(tenant_id="tenant:b"))
        assert (one.jwks_fetches, two.jwks_fetches) == (2, 1)
        await third.close()


async def test_no_more_verified_tokens_are_remembered_than_there_is_room_for(one):
    issuers = Issuers(auth_of(one).oidc, {}, clock=time.time, remembering=5)
    for number in range(20):
        token = one.mint(jti=str(number))
        for _ in range(2):
            assert await issuers.authenticate(token, keys.digest(token))
    assert issuers.remembered == 5
    await issuers.close()


async def test_no_refused_token_is_remembered(one):
    issuers = Issuers(auth_of(one).oidc, {}, clock=time.time)
    for token in (one.mint(exp=1), one.mint(key=make_key(kid="same")), one.mint(tenant_id=5)):
        with pytest.raises(InvalidCredential):
            await issuers.authenticate(token, keys.digest(token))
    assert issuers.remembered == 0
    await issuers.close()


def test_the_metadata_of_the_resource_names_every_issuer():
    issuers = [{"issuer": f"https://{name}.example.com", "tenants": ["tenant:a"]} for name in ("one", "two")]
    oidc = {"enabled": True, "resource_uri": "https://hangar.example.com", "issuers": issuers}
    found = document(front_door({}, auth={"enabled": True, "oidc": oidc}), "/mcp")
    assert found is not None
    assert found["authorization_servers"] == ["https://one.example.com", "https://two.example.com"]
