"""Authentication by tokens of real OpenID providers (threats A03, A04, A13, A46 and A48)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gateway.authn import Authn, CredentialIndex
from gateway.authn.discovery import KeySource
from gateway.authn.jwks import COLD_RETRY_SECONDS, FRESH_SECONDS, MAX_STALE_SECONDS, RETRY_SECONDS, KeyCache
from gateway.config.schema import Auth, Oidc
from gateway.errors import InvalidCredential, KeysUnavailable
from tests.support.clock import Clock
from tests.support.provider import Provider, provider
from tests.support.tokens import admit, refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

RESOURCE = "https://hangar.example.com"


class Rig:
    """Authentication that trusts two providers, with a clock of its own for their keys."""

    def __init__(self, one: Provider, two: Provider) -> None:
        self.one, self.two = one, two
        self.clock = Clock(1000.0)
        issuers = [{"issuer": one.url, "tenants": ["tenant:a"]}, {"issuer": two.url, "tenants": ["tenant:b"]}]
        section = {"enabled": True, "resource_uri": RESOURCE, "issuers": issuers}
        auth = Auth(enabled=True, oidc=Oidc.model_validate(section))
        sources = [KeySource.of(one) for one in auth.oidc.trusted]
        keys = {source: KeyCache(source.load, clock=self.clock) for source in sources}
        self.authn = Authn(auth, CredentialIndex(), keys=keys)


@pytest.fixture(scope="module")
async def providers() -> AsyncIterator[tuple[Provider, Provider]]:
    async with provider(RESOURCE, "tenant:a") as one, provider(RESOURCE, "tenant:b", "RS256") as two:
        yield one, two


@pytest.fixture
async def rig(providers: tuple[Provider, Provider]) -> AsyncIterator[Rig]:
    made = Rig(*providers)
    yield made
    await made.authn.close()
    for one in providers:
        await one.order("jwks", status=200)


async def test_agents_of_two_providers_are_known_by_their_own_and_belong_to_its_tenant(rig: Rig) -> None:
    for one, tenant in ((rig.one, "tenant:a"), (rig.two, "tenant:b")):
        who = await admit(rig.authn, await one.token())
        assert (who.subject, who.issuer, who.tenant) == ("user:agent-a", one.url, tenant)
        assert (who.groups, who.scopes) == (("developers",), ("mcp:tools",))
        assert who.credential is not None
        assert who.credential.id.startswith("jwt:")
    nobodys = await admit(rig.authn, await rig.one.token("agent-without-tenant"))
    assert (nobodys.tenant, nobodys.groups) == (None, ("operators",))


async def test_an_opaque_token_is_refused_though_its_issuer_is_trusted(rig: Rig) -> None:
    status, body = await rig.one.ask()
    assert status == 200
    assert body["access_token"].count(".") == 0
    with pytest.raises(InvalidCredential):
        await admit(rig.authn, body["access_token"])


async def test_a_provider_gives_no_token_for_another_resource_and_one_that_says_so_is_refused(rig: Rig) -> None:
    status, body = await rig.one.ask(resource="https://else.example.com")
    assert (status, body["error"]) == (400, "invalid_target")
    await refused(rig.authn, await rig.one.mint(aud="https://else.example.com"))


async def test_keys_that_rotate_with_an_overlap_refuse_no_token_of_either(rig: Rig) -> None:
    old = await rig.one.token()
    await admit(rig.authn, old)
    await rig.one.order("rotate", keep=True)
    rig.clock.advance(RETRY_SECONDS)
    new, unseen = await rig.one.token(), await rig.one.mint()
    for token in (new, unseen, old):
        await admit(rig.authn, token)
    assert (await admit(rig.authn, await rig.two.token())).tenant == "tenant:b"


async def test_a_key_that_is_gone_is_refused_and_the_other_provider_is_not_asked(rig: Rig) -> None:
    stolen = await rig.one.mint()
    await admit(rig.authn, await rig.one.token())
    await admit(rig.authn, await rig.two.token())
    before = (await rig.two.order("stats"))["jwks"]
    await rig.one.order("rotate")
    rig.clock.advance(RETRY_SECONDS)
    await asyncio.gather(*[admit(rig.authn, await rig.one.mint()) for _ in range(5)])
    await refused(rig.authn, stolen)
    assert (await rig.two.order("stats"))["jwks"] == before


async def test_while_a_provider_is_away_its_known_keys_serve_and_unknown_ones_cannot_be_judged(rig: Rig) -> None:
    await admit(rig.authn, await rig.one.token())
    await rig.one.order("jwks", status=503)
    rig.clock.advance(FRESH_SECONDS + 1)
    assert await admit(rig.authn, await rig.one.mint())
    rig.clock.advance(RETRY_SECONDS)
    with pytest.raises(KeysUnavailable):
        await admit(rig.authn, await rig.one.mint({"kid": "unknown"}))
    rig.clock.advance(MAX_STALE_SECONDS)
    with pytest.raises(KeysUnavailable):
        await admit(rig.authn, await rig.one.mint())
    assert (await admit(rig.authn, await rig.two.mint())).tenant == "tenant:b"
    await rig.one.order("jwks", status=200)
    rig.clock.advance(COLD_RETRY_SECONDS)
    assert await admit(rig.authn, await rig.one.mint())


async def test_a_slow_provider_is_asked_once_by_all_who_wait(rig: Rig) -> None:
    before = (await rig.one.order("stats"))["jwks"]
    await rig.one.order("jwks", delay=50)
    tokens = [await rig.one.mint() for _ in range(20)]
    await asyncio.gather(*(admit(rig.authn, token) for token in tokens))
    assert (await rig.one.order("stats"))["jwks"] == before + 1


HOSTILE: dict[str, dict[str, Any]] = {
    "a stranger's key, brought along": {"foreign": True},
    "no algorithm": {"header": {"alg": "none"}},
    "another algorithm than its key's": {"header": {"alg": "HS256"}},
    "an ID token": {"nonce": "n", "at_hash": "h"},
    "bound to a key": {"cnf": {"jkt": "x"}},
    "without end": {"exp": None},
    "for ten years": {"exp": 2_100_000_000},
    "of no time at all": {"iat": "now"},
    "of another tenant": {"tenant_id": "tenant:b"},
    "of another issuer": {"iss": "https://else.example.com"},
    "for a list of nobody": {"aud": []},
    "for an object": {"aud": {"0": RESOURCE}},
    "of another type": {"header": {"typ": "dpop+jwt"}},
    "with a critical parameter": {"header": {"crit": ["exp"]}},
    "of a key that is a path": {"header": {"kid": "../../etc/passwd"}},
    "of a key at an address": {"header": {"jku": "http://127.0.0.1/jwks", "kid": "x"}},
    "of nobody": {"sub": ""},
    "of a number": {"sub": 5},
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_a_hostile_token_of_a_trusted_providers_making_is_refused(rig: Rig, case: str) -> None:
    await refused(rig.authn, await rig.one.mint(**HOSTILE[case]))
