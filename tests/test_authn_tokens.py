"""Which signed tokens are admitted, and how long that is remembered (threats A02 and A14)."""

from __future__ import annotations

import pytest

from gateway.authn import Authn, CredentialIndex
from gateway.authn.discovery import KeySource
from gateway.authn.jwks import KeyCache
from gateway.model import CredentialKind
from tests.support.clock import Clock
from tests.support.issuer import ABSENT, Issuer, auth_of, trusting
from tests.support.tokens import admit, refused

ALGORITHMS = ["RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519"]


@pytest.fixture(scope="module")
async def issuer():
    async with Issuer().serve() as running:
        yield running


@pytest.fixture(scope="module")
async def authn(issuer):
    async with trusting(issuer) as running:
        yield running


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_good_token_of_every_allowed_algorithm_is_admitted(algorithm):
    async with Issuer(algorithm).serve() as issuer, trusting(issuer) as authn:
        principal = await admit(authn, issuer.mint(jti="t-1", groups=["data"], scope="mcp:tools x"))
    assert principal.subject == "user:jo"
    assert principal.kind is CredentialKind.JWT
    assert principal.tenant == "tenant:a"
    assert principal.issuer == issuer.url
    assert principal.groups == ("data",)
    assert principal.scopes == ("mcp:tools", "x")
    assert principal.credential is not None
    assert principal.credential.id == "jwt:t-1"


async def test_a_large_header_with_a_certificate_chain_and_unknown_names_is_read_and_means_nothing(issuer, authn):
    header = {"x5c": ["M" * 1500], "x5t": "abc", "nonce": "Microsoft's"}
    assert (await admit(authn, issuer.mint(header))).subject == "user:jo"


@pytest.mark.parametrize("kind", ["at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+JWT", "JWT", "jwt"])
async def test_the_configured_types_are_known_in_any_case_and_with_their_prefix(issuer, authn, kind):
    assert await admit(authn, issuer.mint({"typ": kind}))


@pytest.mark.parametrize("kind", [ABSENT, None, "", "logout+jwt", "dpop+jwt", "id+jwt", "secevent+jwt", ["at+jwt"], 5])
async def test_a_token_of_another_type_or_of_none_is_refused(issuer, authn, kind):
    await refused(authn, issuer.mint({"typ": kind}))


async def test_token_types_can_be_narrowed_to_access_tokens(issuer):
    async with trusting(issuer, token_types=["at+jwt"]) as authn:
        assert await admit(authn, issuer.mint())
        await refused(authn, issuer.mint({"typ": "JWT"}))


@pytest.mark.parametrize("algorithms", [["RS256"], ["ES384"]])
async def test_algorithms_can_be_narrowed(issuer, algorithms):
    async with trusting(issuer, algorithms=algorithms) as authn:
        await refused(authn, issuer.mint())


@pytest.mark.parametrize(
    "iss",
    ["/", "/x", ".evil.example", "?a", "#a"],
)
async def test_an_issuer_is_compared_as_an_exact_string(issuer, authn, iss):
    await refused(authn, issuer.mint(iss=issuer.url + iss))


@pytest.mark.parametrize("iss", [ABSENT, None, "", 5, True, {}, "https://evil.example"])
async def test_a_token_of_no_or_another_issuer_is_refused(issuer, authn, iss):
    await refused(authn, issuer.mint(iss=iss))


async def test_an_issuer_in_a_list_in_upper_case_or_cut_short_is_another_issuer(issuer, authn):
    for iss in ([issuer.url], issuer.url.upper(), issuer.url[:-1], f" {issuer.url}", {"0": issuer.url}):
        await refused(authn, issuer.mint(iss=iss))


async def test_a_stranger_is_refused_without_asking_the_issuer_for_keys():
    async with Issuer().serve() as issuer, trusting(issuer) as authn:
        await refused(authn, issuer.mint(iss="https://evil.example"))
        assert issuer.requests.total() == 0


async def test_two_tokens_that_share_all_but_their_ends_are_two_tokens(issuer, authn):
    good = issuer.mint()
    assert await admit(authn, good)
    await refused(authn, good[:-4] + ("AAAA" if not good.endswith("AAAA") else "AAAE"))


async def test_a_remembered_token_is_refused_by_a_new_configuration_that_trusts_another_issuer():
    async with Issuer().serve() as one, Issuer().serve() as two:
        authn = Authn(auth_of(one), CredentialIndex())
        token = one.mint()
        assert await admit(authn, token)
        renewed = authn.renewed(auth_of(two))
        await authn.close(renewed)
        await refused(renewed, token)
        await renewed.close()


async def test_a_remembered_token_is_refused_the_moment_it_expires(issuer):
    clock = Clock()
    authn = Authn(auth_of(issuer, leeway_seconds=0), CredentialIndex(), clock=clock)
    clock.now = float(int(clock.now))
    token = issuer.mint(iat=int(clock.now), exp=int(clock.now) + 20)
    assert await admit(authn, token)
    clock.advance(19.9)
    assert await admit(authn, token)
    clock.advance(0.1)
    await refused(authn, token)
    await authn.close()


async def test_a_remembered_token_is_verified_again_after_a_minute():
    clock = Clock()
    async with Issuer().serve() as issuer:
        source = KeySource.of(auth_of(issuer).oidc)
        authn = Authn(
            auth_of(issuer), CredentialIndex(), clock=clock, keys={source: KeyCache(source.load, clock=clock)}
        )
        token = issuer.mint()
        assert await admit(authn, token)
        issuer.rotate()
        clock.advance(30)
        assert await admit(authn, issuer.mint())
        clock.advance(29)
        assert await admit(authn, token)
        clock.advance(2)
        await refused(authn, token)
        await authn.close()


async def test_a_remembered_token_is_still_judged_by_the_endpoint_it_is_used_at(issuer, authn):
    token = issuer.mint(aud="https://hangar.example.com/tenant/tenant:a/mcp")
    assert await admit(authn, token, "https://hangar.example.com/tenant/tenant:a/mcp")
    await refused(authn, token, "https://hangar.example.com/tenant/tenant:b/mcp")
    await refused(authn, token)
    assert await admit(authn, token, "https://hangar.example.com/tenant/tenant:a/mcp")
