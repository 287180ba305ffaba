"""An issuer's keys in every weather (threat A46)."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey

from gateway.authn import Authn, CredentialIndex
from gateway.authn.discovery import KeySource
from gateway.authn.jwks import COLD_RETRY_SECONDS, FRESH_SECONDS, MAX_STALE_SECONDS, RETRY_SECONDS, KeyCache, parse_keys
from gateway.errors import InvalidCredential, KeysUnavailable
from gateway.net import FetchFailed
from tests.support.clock import Clock
from tests.support.issuer import Issuer, auth_of, make_key
from tests.support.tokens import admit, refused
from tests.support.wait import until


class Rig:
    """An issuer, and authentication that trusts it with a clock of its own for the keys."""

    def __init__(self, issuer):
        self.issuer = issuer
        self.clock = Clock(1000.0)
        auth = auth_of(issuer)
        source = KeySource.of(auth.oidc)
        self.cache = KeyCache(source.load, clock=self.clock)
        self.authn = Authn(auth, CredentialIndex(), keys={source: self.cache})

    async def admit(self, **claims):
        return await admit(self.authn, self.issuer.mint(jti=secrets.token_hex(8), **claims))


@asynccontextmanager
async def rig_of(algorithm="ES256"):
    async with Issuer(algorithm).serve() as issuer:
        rig = Rig(issuer)
        try:
            yield rig
        finally:
            await rig.authn.close()


@pytest.fixture
async def rig():
    async with rig_of() as running:
        yield running


async def test_keys_are_fetched_once_while_they_are_fresh(rig):
    for _ in range(5):
        await rig.admit()
        rig.clock.advance(FRESH_SECONDS / 5)
    assert rig.issuer.jwks_fetches == 1


async def test_five_hundred_random_key_ids_cost_one_fetch(rig):
    await rig.admit()
    rig.clock.advance(RETRY_SECONDS)
    forged = [rig.issuer.mint({"kid": secrets.token_hex(8)}) for _ in range(500)]
    outcomes = await asyncio.gather(*(admit(rig.authn, token) for token in forged), return_exceptions=True)
    assert all(isinstance(outcome, InvalidCredential) for outcome in outcomes)
    assert rig.issuer.jwks_fetches == 2


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_two_hundred_tokens_of_a_new_key_at_once_are_admitted_by_one_fetch(algorithm):
    async with rig_of(algorithm) as rig:
        await rig.admit()
        rig.clock.advance(RETRY_SECONDS)
        rig.issuer.rotate()
        rig.issuer.delay = 0.05
        await asyncio.gather(*(rig.admit() for _ in range(200)))
        assert rig.issuer.jwks_fetches == 2


async def test_a_cold_start_under_load_is_one_fetch(rig):
    rig.issuer.delay = 0.05
    await asyncio.gather(*(rig.admit() for _ in range(50)))
    assert rig.issuer.jwks_fetches == 1


async def test_a_rotation_within_ten_seconds_of_a_fetch_is_seen_when_they_are_over(rig):
    await rig.admit()
    rig.issuer.rotate()
    with pytest.raises(InvalidCredential):
        await rig.admit()
    rig.clock.advance(RETRY_SECONDS)
    await rig.admit()


async def test_a_token_of_a_key_that_was_taken_away_is_refused_after_the_next_fetch(rig):
    old = rig.issuer.mint(jti="old")
    await rig.admit()
    rig.issuer.rotate()
    rig.clock.advance(RETRY_SECONDS)
    await rig.admit()
    await refused(rig.authn, old)


async def test_keys_past_their_freshness_serve_while_one_refresh_runs_behind(rig):
    await rig.admit()
    rig.clock.advance(FRESH_SECONDS + 1)
    rig.issuer.delay = 0.05
    for _ in range(5):
        await rig.admit()
    assert rig.issuer.jwks_fetches == 1
    await until(lambda: rig.issuer.jwks_fetches == 2)


@pytest.mark.parametrize("status", [302, 404, 429, 500, 503])
async def test_known_keys_serve_while_the_issuer_is_away_and_not_for_ever(rig, status):
    await rig.admit()
    rig.issuer.status = status
    for _ in range(4):
        rig.clock.advance(MAX_STALE_SECONDS / 4)
        await rig.admit()
    rig.clock.advance(1)
    with pytest.raises(KeysUnavailable) as caught:
        await rig.admit()
    assert caught.value.retry_after > 0
    rig.issuer.status = 200
    rig.clock.advance(COLD_RETRY_SECONDS)
    await rig.admit()


async def test_an_issuer_that_was_never_reached_is_unavailable_and_not_a_bad_token(rig):
    rig.issuer.status = 503
    with pytest.raises(KeysUnavailable):
        await rig.admit()
    rig.issuer.status = 200
    rig.clock.advance(COLD_RETRY_SECONDS)
    await rig.admit()


async def test_an_issuer_that_is_away_is_not_asked_by_every_request(rig):
    rig.issuer.status = 503
    for _ in range(50):
        with pytest.raises(KeysUnavailable):
            await rig.admit()
    assert rig.issuer.requests.total() == 1


async def test_a_new_key_cannot_be_judged_while_the_issuer_is_away(rig):
    await rig.admit()
    rig.clock.advance(RETRY_SECONDS)
    rig.issuer.rotate()
    rig.issuer.status = 503
    with pytest.raises(KeysUnavailable):
        await rig.admit()


async def test_an_issuer_that_takes_its_keys_away_is_obeyed(rig):
    await rig.admit()
    rig.issuer.document = {"keys": []}
    rig.clock.advance(FRESH_SECONDS + 1)
    await refused(rig.authn, rig.issuer.mint({"kid": "unknown"}))
    with pytest.raises(InvalidCredential):
        await rig.admit()


async def test_a_caller_who_hangs_up_does_not_take_the_keys_from_the_others(rig):
    rig.issuer.delay = 0.05
    waiting = [asyncio.create_task(rig.admit()) for _ in range(3)]
    await until(rig.issuer.requests.total)
    waiting[0].cancel()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert [outcome.subject for outcome in outcomes[1:]] == ["user:jo", "user:jo"]
    assert rig.issuer.jwks_fetches == 1


async def test_closing_while_keys_are_fetched_is_unavailable_for_those_who_wait(rig):
    rig.issuer.delay = 5
    waiting = asyncio.create_task(rig.admit())
    await until(rig.issuer.requests.total)
    await rig.authn.close()
    with pytest.raises(KeysUnavailable):
        await waiting


BAD_SETS = [b"", b"<html>", b"[]", b"{}", b'{"keys": {}}', b'{"keys": null}', b'{"keys": "x"}', b"[" * 5000, b"null"]


@pytest.mark.parametrize("document", [*BAD_SETS, b'{"keys": [' + b" " * 262144 + b"]}"])
async def test_what_is_no_key_set_of_decent_size_leaves_the_known_keys_in_place(rig, document):
    await rig.admit()
    rig.issuer.document = document
    rig.clock.advance(FRESH_SECONDS + 1)
    with pytest.raises(KeysUnavailable):
        await admit(rig.authn, rig.issuer.mint({"kid": "unknown"}))
    assert rig.issuer.jwks_fetches == 2
    await rig.admit()


def public(key, **changes):
    return {**key.as_dict(private=False), **changes}


GOOD = make_key("ES256", "good")
SMALL_RSA = {"kty": "RSA", "kid": "small", "e": "AQAB", "n": "3" + "_" * 169 + "w"}
HUGE_RSA = {"kty": "RSA", "kid": "huge", "e": "AQAB", "n": "3" + "_" * 2798 + "w"}
UNUSABLE = {
    "symmetric": OctKey.generate_key(256, {"kid": "x"}).as_dict(private=True),
    "private": make_key("ES256").as_dict(private=True),
    "for encryption": public(make_key("ES256"), use="enc"),
    "for signing only": public(make_key("ES256"), key_ops=["sign"]),
    "of a use that is a list": public(make_key("ES256"), use=["sig"]),
    "of operations that are text": public(make_key("ES256"), key_ops="verify"),
    "RSA of 1024 bits": SMALL_RSA,
    "RSA of 16000 bits": HUGE_RSA,
    "RSA without a modulus": {"kty": "RSA", "e": "AQAB"},
    "RSA with a modulus that is a number": {"kty": "RSA", "e": "AQAB", "n": 5},
    "RSA with a modulus that is not base64": {"kty": "RSA", "e": "AQAB", "n": "###"},
    "of the curve of coins": public(ECKey.generate_key("secp256k1")),
    "for key agreement": public(OKPKey.generate_key("X25519")),
    "off its curve": public(make_key("ES256"), x="AAAA"),
    "with a key id that is a number": public(make_key("ES256"), kid=5),
    "of an unknown type": {"kty": "AKP", "alg": "ML-DSA-44", "pub": "x"},
    "of a type that is a list": {"kty": ["RSA"]},
    "of no type": {"kid": "x"},
    "text": "key",
    "nothing": None,
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_key_that_must_not_verify_is_dropped_and_its_neighbour_kept(case):
    keys = parse_keys({"keys": [UNUSABLE[case], public(GOOD)]})
    assert [key.kid for key in keys] == ["good"]


def test_a_key_with_certificates_and_unknown_members_is_kept_without_them():
    keys = parse_keys({"keys": [public(GOOD, use="sig", x5c=[5], key_ops=["verify"], extra={"a": 1})]})
    assert [key.kid for key in keys] == ["good"]


def test_a_set_of_more_than_64_keys_is_refused_whole():
    entry = public(GOOD)
    assert len(parse_keys({"keys": [entry] * 64}).keys) == 64
    with pytest.raises(FetchFailed):
        parse_keys({"keys": [entry] * 65})


async def test_a_secret_published_as_a_key_verifies_nothing(rig):
    secret = OctKey.generate_key(256, {"kid": "shared"})
    rig.issuer.document = {"keys": [secret.as_dict(private=True), public(rig.issuer.keys[0])]}
    await rig.admit()
    await refused(rig.authn, rig.issuer.mint({"kid": "shared", "alg": "HS256"}))
