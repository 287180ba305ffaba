"""One credential, one verifier, no falling through (threats A01, A14 and A50)."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest
from joserfc.util import urlsafe_b64decode, urlsafe_b64encode
from multidict import CIMultiDict

from gateway import keys
from gateway.authn import Authn, CredentialIndex, Presented
from gateway.authn.tenant_keys import TenantKey, digest_of
from gateway.config.schema import ApiKey, Auth, Oidc
from gateway.errors import CredentialError, CredentialRequired, InvalidCredential, KeysUnavailable, LedgerStale
from gateway.model import ANONYMOUS, Credential, CredentialKind
from tests.support.clock import Clock
from tests.support.issuer import ABSENT, Issuer, auth_of, make_key
from tests.support.tokens import admit, refused
from tests.support.wait import until

GOOD, REVOKED, EXPIRED = keys.mint(), keys.mint(), keys.mint()
TOKEN, REVOKED_TOKEN, EXPIRED_TOKEN = keys.mint_token(), keys.mint_token(), keys.mint_token()
# A tenant's own key may be any text that its owner has made the hash of.
TENANTS = "correct-horse-battery-staple"
STORED = Credential("c_1", keys.sha256(GOOD), GOOD[:12], "user:root", "root", "admin", None, 0, "cli")
MINTED = replace(
    STORED, id="c_4", hash=keys.sha256(TOKEN), principal="token:c_4", tenant="tenant:a", role="viewer",
    kind=CredentialKind.TENANT_TOKEN,
)  # fmt: skip
# By a clock that stands still, because the tests may run long after they were collected.
INDEX = CredentialIndex(
    [
        STORED,
        replace(STORED, id="c_2", hash=keys.sha256(REVOKED), revoked_at=1),
        replace(STORED, id="c_3", hash=keys.sha256(EXPIRED), expires_at=1),
        MINTED,
        replace(MINTED, id="c_5", hash=keys.sha256(REVOKED_TOKEN), revoked_at=1),
        replace(MINTED, id="c_6", hash=keys.sha256(EXPIRED_TOKEN), expires_at=1),
    ],
    clock=lambda: 0.0,
)
TENANT_KEYS = {digest_of(f"sha256:{keys.sha256(TENANTS)}"): TenantKey("tenant:b", "production")}


@pytest.fixture(scope="module")
async def issuer():
    async with Issuer().serve() as running:
        yield running


def header(secret):
    return Presented(secret, "header")


def bearer(secret):
    return Presented(secret, "bearer")


@pytest.fixture
async def make(issuer):
    made = []

    def make(**changes):
        authn = Authn(auth_of(issuer).model_copy(update=changes), INDEX, TENANT_KEYS)
        made.append(authn)
        return authn

    yield make
    for authn in made:
        await authn.close()


async def test_with_authentication_off_everybody_is_anonymous_and_no_credential_is_read():
    authn = Authn(Auth(enabled=False, oidc=Oidc(enabled=True, issuer="https://issuer.test")), INDEX)
    twice = CIMultiDict([("Authorization", "Basic x"), ("X-API-Key", "bad")])
    assert authn.present(twice, ["token"]) is None
    for presented in (None, header("bad"), bearer("a.b.c"), header(GOOD), header(REVOKED)):
        assert await authn.authenticate(presented) is ANONYMOUS


async def test_nothing_presented_is_anonymous_only_where_that_is_allowed(make):
    assert await make(allow_anonymous=True).authenticate(None) is ANONYMOUS
    with pytest.raises(CredentialRequired):
        await make().authenticate(None)


BAD = {
    "an unknown key": header(keys.mint()),
    "an unknown key as bearer": bearer(keys.mint()),
    "a revoked key": header(REVOKED),
    "a revoked key as bearer": bearer(REVOKED),
    "an expired key": header(EXPIRED),
    "a mistyped key": header(GOOD[:-1] + ("A" if GOOD[-1] != "A" else "B")),
    "a key cut short": header(GOOD[:-1]),
    "the hash of a key": header(keys.sha256(GOOD)),
    "an unknown tenant token": bearer(keys.mint_token()),
    "an unknown tenant token on the key header": header(keys.mint_token()),
    "a tenant token cut short": bearer("mcpt_" + "a" * 42),
    "a revoked tenant token": bearer(REVOKED_TOKEN),
    "an expired tenant token": bearer(EXPIRED_TOKEN),
    "the hash of a tenant's key": header("sha256:" + keys.sha256(TENANTS)),
    "opaque text": bearer("opaque"),
    "opaque text on the key header": header("opaque"),
    "three empty segments": bearer(".."),
    "three segments of nonsense": bearer("a.b.c"),
}


@pytest.mark.parametrize("anonymous", [False, True])
@pytest.mark.parametrize("case", BAD)
async def test_a_bad_credential_is_refused_whatever_else_is_allowed(make, case, anonymous):
    with pytest.raises(InvalidCredential):
        await make(allow_anonymous=anonymous).authenticate(BAD[case])


@pytest.mark.parametrize("anonymous", [False, True])
async def test_a_bad_token_of_the_right_issuer_is_refused_whatever_else_is_allowed(issuer, make, anonymous):
    authn = make(allow_anonymous=anonymous)
    for token in (issuer.mint(exp=1), issuer.mint(aud="else"), issuer.mint(key=make_key())):
        await refused(authn, token)


async def test_unknown_revoked_expired_and_malformed_credentials_are_one_error_to_the_outside(make):
    authn, seen = make(), set()
    for presented in BAD.values():
        with pytest.raises(CredentialError) as caught:
            await authn.authenticate(presented)
        seen.add((type(caught.value), caught.value.reason))
    assert seen == {(InvalidCredential, "invalid_credential")}


async def test_no_error_repeats_the_secret(make):
    authn = make()
    for presented in BAD.values():
        with pytest.raises(InvalidCredential) as caught:
            await authn.authenticate(presented)
        assert presented.secret not in str(caught.value) or presented.secret in ("..", "opaque")


OPAQUE = {GOOD: "user:root", TOKEN: "token:c_4", TENANTS: "service:tenant:b/production"}


@pytest.mark.parametrize("via", [header, bearer])
@pytest.mark.parametrize("secret", OPAQUE, ids=["key", "token", "tenant's key"])
async def test_keys_and_tokens_are_good_on_the_key_header_and_as_bearer(make, via, secret):
    assert (await make().authenticate(via(secret))).subject == OPAQUE[secret]


async def test_a_tenants_key_is_a_service_of_its_tenant_and_is_named_or_goes_by_its_hash(issuer):
    hashed = keys.digest(TENANTS)
    for name, subject in (("production", "production"), (None, keys.sha256(TENANTS)[:12])):
        authn = Authn(auth_of(issuer), INDEX, {hashed: TenantKey("tenant:b", name)})
        found = await authn.authenticate(header(TENANTS))
        assert found.subject == f"service:tenant:b/{subject}"
        assert (found.kind, found.tenant) == (CredentialKind.TENANT_KEY, "tenant:b")
        assert found.credential is not None
        assert (found.credential.role, found.credential.scope) == (None, None)


async def test_a_tenants_key_is_gone_with_the_configuration_that_named_it(make, issuer):
    first = make()
    assert await first.authenticate(header(TENANTS))
    with pytest.raises(InvalidCredential):
        await first.renewed(auth_of(issuer), {}).authenticate(header(TENANTS))


async def test_a_hash_that_the_ledger_and_a_tenants_file_both_have_is_the_ledgers(issuer):
    both = {keys.digest(GOOD): TenantKey("tenant:b"), keys.digest(REVOKED): TenantKey("tenant:b")}
    authn = Authn(auth_of(issuer), INDEX, both)
    assert (await authn.authenticate(header(GOOD))).subject == "user:root"
    with pytest.raises(InvalidCredential):
        await authn.authenticate(header(REVOKED))


async def test_a_jwt_is_a_bearer_token_and_no_api_key(issuer, make):
    authn = make()
    assert (await admit(authn, issuer.mint())).subject == "user:jo"
    with pytest.raises(InvalidCredential):
        await authn.authenticate(header(issuer.mint()))


async def test_a_kind_of_credential_that_is_switched_off_is_refused(issuer, make):
    without_keys = make(api_key=ApiKey(enabled=False))
    for presented in (header(GOOD), bearer(GOOD), header(TENANTS), bearer(TENANTS)):
        with pytest.raises(InvalidCredential):
            await without_keys.authenticate(presented)
    assert await admit(without_keys, issuer.mint())
    assert await admit(without_keys, TOKEN)
    await refused(make(oidc=auth_of(issuer, enabled=False).oidc), issuer.mint())


async def test_a_key_is_still_good_while_the_issuer_is_away(make):
    async with Issuer().serve() as away:
        away.status = 503
        authn = make(oidc=auth_of(away).oidc)
        with pytest.raises(KeysUnavailable):
            await admit(authn, away.mint())
        assert (await authn.authenticate(header(GOOD))).subject == "user:root"


@pytest.mark.parametrize("algorithm", ["none", "HS256", "RS1", ["ES256"], None, 5, ABSENT])
async def test_a_token_of_a_wrong_algorithm_is_refused_before_there_are_keys_and_fetches_none(make, algorithm):
    async with Issuer().serve() as away:
        away.status = 503
        await refused(make(oidc=auth_of(away).oidc), resigned(away.mint(), alg=algorithm))
        assert away.requests.total() == 0


@pytest.mark.parametrize("claims", [{"exp": 1}, {"sub": ""}, {"tenant_id": None}, {"nonce": "x"}])
async def test_a_token_that_no_key_would_make_good_is_refused_while_the_issuer_is_away(make, claims):
    async with Issuer().serve() as away:
        away.status = 503
        authn = make(oidc=auth_of(away).oidc)
        await refused(authn, away.mint(**claims))
        with pytest.raises(KeysUnavailable):
            await admit(authn, away.mint())


def resigned(token, **changes):
    """Return a token with other members of its header, under the signature that it had."""
    head, _, rest = token.partition(".")
    found = json.loads(urlsafe_b64decode(head.encode())) | changes
    kept = {name: value for name, value in found.items() if value is not ABSENT}
    return f"{urlsafe_b64encode(json.dumps(kept).encode()).decode()}.{rest}"


async def test_a_revocation_counts_from_the_moment_the_index_is_replaced(issuer):
    index = CredentialIndex([STORED])
    authn = Authn(auth_of(issuer), index)
    assert await authn.authenticate(header(GOOD))
    index.replace([replace(STORED, revoked_at=1)])
    with pytest.raises(InvalidCredential):
        await authn.authenticate(header(GOOD))
    await authn.close()


async def test_a_token_of_an_issuer_that_is_not_configured_is_refused_even_with_the_same_key(make):
    async with Issuer().serve() as one, Issuer().serve() as two:
        two.keys = one.keys
        authn = make(oidc=auth_of(one).oidc)
        assert await admit(authn, one.mint())
        await refused(authn, two.mint())
        await refused(authn, two.mint(tenant_id="tenant:b"))


async def test_a_reload_that_leaves_the_issuer_alone_keeps_its_keys(issuer):
    async with Issuer().serve() as issuer:
        first = Authn(auth_of(issuer), INDEX)
        await admit(first, issuer.mint())
        second = first.renewed(auth_of(issuer, audience="other", leeway_seconds=5))
        await first.close(second)
        assert await admit(second, issuer.mint(aud="other"))
        assert issuer.jwks_fetches == 1
        await second.close()


async def test_a_reload_does_not_fail_those_who_wait_for_keys():
    async with Issuer().serve() as issuer:
        issuer.delay = 0.05
        first = Authn(auth_of(issuer), INDEX)
        waiting = asyncio.create_task(admit(first, issuer.mint()))
        await until(issuer.requests.total)
        second = first.renewed(auth_of(issuer, leeway_seconds=5))
        await first.close(second)
        assert (await waiting).subject == "user:jo"
        await second.close()


async def test_a_reload_that_changes_where_keys_come_from_forgets_them(issuer):
    async with Issuer().serve() as issuer:
        first = Authn(auth_of(issuer), INDEX)
        await admit(first, issuer.mint())
        second = first.renewed(auth_of(issuer, jwks_uri=f"{issuer.url}/jwks"))
        await first.close(second)
        await admit(second, issuer.mint())
        assert issuer.jwks_fetches == 2
        await second.close()


async def test_a_reload_that_switches_keys_off_counts_at_once(make, issuer):
    first = make()
    assert await first.authenticate(header(GOOD))
    second = first.renewed(auth_of(issuer).model_copy(update={"api_key": ApiKey(enabled=False)}))
    with pytest.raises(InvalidCredential):
        await second.authenticate(header(GOOD))


async def test_a_failure_says_what_the_credential_looked_like(make):
    kinds = {}
    for case, presented in BAD.items():
        with pytest.raises(InvalidCredential) as caught:
            await make().authenticate(presented)
        kinds[case] = caught.value.kind
    assert kinds["an unknown key"] == kinds["a revoked key"] == CredentialKind.API_KEY
    assert kinds["an unknown tenant token"] == kinds["a revoked tenant token"] == CredentialKind.TENANT_TOKEN
    assert kinds["three segments of nonsense"] == CredentialKind.JWT
    assert kinds["opaque text"] == "unknown"


@pytest.fixture
async def stale(issuer):
    """Authentication whose ledger was last read a second longer ago than it may be."""
    clock = Clock(0.0)
    index = CredentialIndex([STORED, replace(STORED, id="c_2", hash=keys.sha256(REVOKED), revoked_at=1)], clock=clock)
    authn = Authn(auth_of(issuer), index, TENANT_KEYS)
    clock.advance(auth_of(issuer).max_stale_seconds)
    assert await authn.authenticate(header(GOOD))
    clock.advance(1)
    yield authn, index
    await authn.close()


@pytest.mark.parametrize(
    "presented",
    [header(GOOD), bearer(GOOD), header(REVOKED), bearer(keys.mint()), bearer(keys.mint_token()), bearer("opaque")],
    ids=["known", "known as bearer", "revoked", "unknown", "unknown token", "opaque"],
)
async def test_once_the_ledger_is_away_for_too_long_no_key_or_token_can_be_judged_known_or_not(stale, presented):
    authn, index = stale
    with pytest.raises(LedgerStale) as caught:
        await authn.authenticate(presented)
    assert caught.value.retry_after > 0
    index.confirm()
    assert (await authn.authenticate(header(GOOD))).subject == "user:root"


async def test_what_does_not_hang_on_the_ledger_goes_on_while_it_is_away(stale, issuer):
    authn, _ = stale
    assert (await admit(authn, issuer.mint())).subject == "user:jo"
    await refused(authn, issuer.mint(aud="else"))
    assert (await authn.authenticate(header(TENANTS))).tenant == "tenant:b"


async def test_a_hash_that_the_ledger_has_too_is_not_judged_by_the_file_alone_while_the_ledger_is_away(issuer):
    clock = Clock(0.0)
    index = CredentialIndex([replace(STORED, revoked_at=1)], clock=clock)
    authn = Authn(auth_of(issuer), index, {keys.digest(GOOD): TenantKey("tenant:b")})
    clock.advance(1000)
    with pytest.raises(LedgerStale):
        await authn.authenticate(header(GOOD))
