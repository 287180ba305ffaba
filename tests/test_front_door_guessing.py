"""Guessing credentials from one address, and asking too often with a good one (threats A50, A51 and A52)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway import keys
from gateway.audit import AuditTrail
from gateway.authn import Authn, CredentialIndex
from gateway.config import Config
from gateway.endpoints.refusals import ADMIN_REQUESTS, GUESSES, Refusals
from gateway.errors import CredentialRequired, ExpiredToken, InvalidCredential, KeysUnavailable, TooManyRequests
from gateway.model import Credential, CredentialKind, Principal, RequestInfo
from gateway.recording import Caller
from tests.support.clock import Clock
from tests.support.door import gate_alone, nowhere
from tests.support.issuer import auth_of, make_key
from tests.support.raw import exchange, request, status

if TYPE_CHECKING:
    import aiohttp

    from gateway.errors import CredentialError
    from gateway.model import AuditEvent
    from tests.conftest import World
    from tests.support.issuer import Issuer

BURST = GUESSES.burst


async def test_a51_a_hundred_bad_tries_are_ten_refusals_then_429_and_a_good_credential_is_let_in_all_the_while(
    guarded: World,
) -> None:
    here = {"X_Forwarded_For": "192.0.2.51"}
    replies = [await guarded.gateway.rpc("ping", X_API_Key=keys.mint(), **here) for _ in range(100)]
    assert [reply.status for reply in replies] == [401] * BURST + [429] * (100 - BURST)
    limited = replies[-1]
    assert 1 <= int(limited.headers["Retry-After"]) <= 6
    assert limited.json["detail"] == "Too many failed authentications from this address"
    assert "WWW-Authenticate" not in limited.headers
    for good in ({"X_API_Key": guarded.admin_key}, {"Authorization": f"Bearer {guarded.token('tenant:a')}"}):
        assert (await guarded.gateway.rpc("ping", **good, **here)).status == 200
    assert (await guarded.gateway.rpc("ping", X_API_Key=keys.mint(), **here)).status == 429
    assert (await guarded.gateway.rpc("ping", X_API_Key=keys.mint(), X_Forwarded_For="192.0.2.52")).status == 401
    events = await guarded.gateway.events(type="AuthenticationLimited", source__ip="192.0.2.51")
    assert [(event["outcome"], event["reason"], event["count"]) for event in events] == [
        ("failure", "too_many_failures", 1)
    ]


async def test_a16_failures_count_against_the_address_that_the_trusted_proxy_saw_whatever_was_written_before_it(
    guarded: World,
) -> None:
    async def guess(number: int) -> bytes:
        forged = f"X-Forwarded-For: 198.51.100.{number}, 203.0.113.{number}"
        lines = ("Content-Type: application/json", f"X-API-Key: {keys.mint()}", forged)
        return await exchange(
            guarded.gateway.url,
            request(
                "POST /mcp HTTP/1.1", *lines, "X-Forwarded-For: 192.0.2.54", "Forwarded: for=192.0.2.1", body=b"{}"
            ),
        )

    assert [status(await guess(number)) for number in range(BURST + 1)] == [401] * BURST + [429]
    events = await guarded.gateway.events(type="AuthenticationFailed", source__ip="192.0.2.54")
    assert len(events) == BURST


async def test_a51_every_way_to_guess_counts_and_no_form_of_the_answer_tells_one_from_another(guarded: World) -> None:
    here = {"X_Forwarded_For": "2001:db8:51::1"}
    stranger = make_key()
    guesses = [
        {"X_API_Key": keys.mint()},
        {"X_API_Key": keys.mint()[:-1]},
        {"Authorization": f"Bearer {keys.mint_token()}"},
        {"Authorization": "Bearer opaque"},
        {"Authorization": "Basic eDp5"},
        {"Authorization": "Bearer a.b.c"},
        {"Authorization": f"Bearer {guarded.issuer.mint(key=stranger)}"},
        {"Authorization": f"Bearer {guarded.issuer.mint(aud='else')}"},
        {"Authorization": f"Bearer {guarded.issuer.mint(iss='https://else.example.com')}"},
        {"Authorization": f"Bearer {guarded.issuer.mint(tenant_id=5)}"},
    ]
    assert len(guesses) == BURST
    assert {(await guarded.gateway.rpc("ping", **one, **here)).status for one in guesses} == {401}
    # The same customer from another of the addresses of its network.
    neighbour = {"X_Forwarded_For": "2001:db8:51::ffff"}
    answers = [await guarded.gateway.rpc("ping", **one, **neighbour) for one in guesses]
    bodies = {bytes(answer.body).replace(answer.headers["X-Request-Id"].encode(), b"") for answer in answers}
    assert ({answer.status for answer in answers}, len(bodies)) == ({429}, 1)


async def test_a51_who_has_no_credential_yet_or_one_that_ran_out_is_told_to_fetch_one_however_often(
    guarded: World,
) -> None:
    here = {"X_Forwarded_For": "192.0.2.53"}
    for _ in range(2 * BURST):
        for sent in ({}, {"Authorization": f"Bearer {guarded.issuer.mint(iat=1, exp=2)}"}):
            reply = await guarded.gateway.rpc("ping", **sent, **here)
            assert reply.status == 401
            assert "resource_metadata" in reply.headers["WWW-Authenticate"]


class Rig:
    """Refusals with a clock, and the events that came of them."""

    def __init__(self) -> None:
        self.clock = Clock(1000.0)
        self.events: list[AuditEvent] = []
        self.refusals = Refusals(AuditTrail(nowhere, observe=self.events.append), clock=self.clock)

    def fail(self, error: CredentialError | None = None, ip: str = "192.0.2.1") -> bool:
        """Fail once; say whether it was one too many."""
        said = self.refusals.unauthenticated(
            RequestInfo("id", ip, 0), error or InvalidCredential("not known", "api_key")
        )
        return isinstance(said, TooManyRequests)


def test_guessing_goes_on_at_the_rate_and_no_faster():
    rig = Rig()
    assert [rig.fail() for _ in range(BURST + 1)] == [False] * BURST + [True]
    rig.clock.advance(GUESSES.interval)
    assert [rig.fail(), rig.fail()] == [False, True]


@pytest.mark.parametrize(
    "error",
    [CredentialRequired("none"), ExpiredToken("expired", "jwt"), KeysUnavailable("away")],
    ids=lambda error: type(error).__name__,
)
def test_what_is_no_guess_uses_nothing_up(error):
    rig = Rig()
    assert not any(rig.fail(error) for _ in range(100))
    assert not rig.fail()


def test_a52_a_success_and_a_pause_give_no_more_than_the_rate_back():
    rig = Rig()
    for _ in range(BURST):
        rig.fail()
    rig.clock.advance(2 * GUESSES.interval)
    assert [rig.fail() for _ in range(3)] == [False, False, True]


def test_a52_addresses_of_one_ipv6_network_are_one_and_of_two_are_two():
    rig = Rig()
    for number in range(BURST):
        assert not rig.fail(ip=f"2001:db8:0:1::{number:x}")
    assert rig.fail(ip="2001:db8:0:1:ffff::1")
    assert not rig.fail(ip="2001:db8:0:2::1")
    assert not rig.fail(ip="::ffff:192.0.2.9")


def test_a_lock_out_is_one_event_a_minute_and_a_count_of_the_rest():
    rig = Rig()
    for _ in range(BURST + 50):
        rig.fail()
    kinds = [event.type for event in rig.events]
    assert kinds == ["AuthenticationFailed"] * BURST + ["AuthenticationLimited"]
    rig.clock.advance(60)
    rig.refusals.record_folded()
    assert [(event.type, event.reason, event.count) for event in rig.events[BURST + 1 :]] == [
        ("AuthenticationLimited", "repeated", 49)
    ]


def asking(subject: str, issuer: str | None = None) -> Caller:
    return Caller(Principal(subject, CredentialKind.JWT, issuer=issuer), RequestInfo("id", "192.0.2.1", 0))


def test_an_admin_who_asks_too_often_waits_and_nobody_else_does():
    rig = Rig()
    for _ in range(ADMIN_REQUESTS.burst):
        rig.refusals.require_admin_rate(asking("user:jo", "https://one"))
    with pytest.raises(TooManyRequests) as caught:
        rig.refusals.require_admin_rate(asking("user:jo", "https://one"))
    rig.refusals.require_admin_rate(asking("user:jo", "https://two"))
    rig.refusals.require_admin_rate(asking("user:ann", "https://one"))
    assert [(event.type, event.reason, event.actor["principal"]) for event in rig.events] == [
        ("RequestRefused", "too_many_requests", "user:jo")
    ]
    rig.clock.advance(caught.value.retry_after)
    rig.refusals.require_admin_rate(asking("user:jo", "https://one"))


async def test_a_flood_of_admin_requests_is_429_with_the_seconds_to_wait_and_others_go_on(issuer: Issuer) -> None:
    secrets = [keys.mint(), keys.mint()]
    stored = [credential(number, secret) for number, secret in enumerate(secrets)]
    config = Config(auth=auth_of(issuer))
    async with gate_alone(config, Authn(config.auth, CredentialIndex(stored))) as alone:

        async def ask(secret: str) -> aiohttp.ClientResponse:
            return await alone.client.post("/api", headers={"X-API-Key": secret})

        answers = [await ask(secrets[0]) for _ in range(2 * ADMIN_REQUESTS.burst)]
        refused = [answer for answer in answers if answer.status != 200]
        assert [answer.status for answer in answers[: ADMIN_REQUESTS.burst]] == [200] * ADMIN_REQUESTS.burst
        assert {(answer.status, answer.headers["Retry-After"]) for answer in refused} == {(429, "1")}
        assert (await refused[0].json())["detail"] == "Too many admin requests"
        assert (await ask(secrets[1])).status == 200


def credential(number: int, secret: str) -> Credential:
    hashed, shown = keys.sha256(secret), keys.shown(secret)
    return Credential(f"c_{number}", hashed, shown, f"service:{number}", "", "admin", None, 0, "tests")
