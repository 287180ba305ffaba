"""The register of open streams: its caps, its checks, and how it ends what has lost its right (A28, A40)."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import DecisionUnavailable, InvalidCredential, NotVisible, TooManyStreams
from gateway.model import CredentialKind, CredentialRef, Principal
from gateway.pulse import Pulse
from gateway.streams import Limits, Streams
from tests.support.clock import Clock
from tests.support.wait import until


def principal(
    subject="user:jo", tenant="tenant:a", credential="c_1", kind=CredentialKind.API_KEY, expires_at=None
) -> Principal:
    return Principal(subject, kind, tenant, credential=CredentialRef(credential, expires_at=expires_at))


class Held:
    """Streams of a test; `why` says of each why it was ended."""

    def __init__(self, limits: Limits | None = None, now: float = 1000.0) -> None:
        self.clock = Clock(now)
        self.streams = Streams(limits, clock=self.clock)
        self.why: dict[str, str] = {}
        self.says: dict[str, object] = {}
        self.asked: list[str] = []
        self.revision = 1

    def open(self, name: str, who: Principal | None = None, **options):
        async def check() -> int:
            self.asked.append(name)
            says = self.says.get(name, self.revision)
            if isinstance(says, Exception):
                raise says
            return int(str(says))

        return self.streams.open(who or principal(), lambda why: self.why.update({name: why}), check, **options)


async def test_no_more_streams_are_open_than_a_credential_a_tenant_and_the_process_may_have():
    held = Held(Limits(per_credential=2, per_tenant=3, total=4))
    opened = [held.open("1"), held.open("2")]
    with pytest.raises(TooManyStreams, match="a credential"):
        held.open("3")
    opened.append(held.open("3", principal(credential="c_2")))
    with pytest.raises(TooManyStreams, match="a tenant"):
        held.open("4", principal("user:al", credential="c_3"))
    opened.append(held.open("4", principal(tenant="tenant:b")))
    with pytest.raises(TooManyStreams, match="this gateway"):
        held.open("5", principal(tenant="tenant:c"))
    assert len(held.streams) == 4
    for one in opened:
        held.streams.close(one)
        held.streams.close(one)
    assert len(held.streams) == 0
    for name in "12":
        held.open(name)


async def test_a_new_token_of_the_same_subject_is_no_new_credential():
    held = Held(Limits(per_credential=1))
    held.open("1", principal(credential="jti-1", kind=CredentialKind.JWT))
    with pytest.raises(TooManyStreams):
        held.open("2", principal(credential="jti-2", kind=CredentialKind.JWT))
    held.open("3", principal("user:al", credential="jti-1", kind=CredentialKind.JWT))


async def test_a_stream_ends_when_its_credential_expires_and_is_told_so_once():
    held = Held()
    held.open("soon", principal(expires_at=1000.02))
    held.open("late", principal(credential="c_2", expires_at=5000))
    closed = held.open("closed", principal(credential="c_3", expires_at=1000.02))
    held.streams.close(closed)
    await until(lambda: "soon" in held.why)
    assert held.why == {"soon": "credential expired"}


async def test_a_check_that_fails_ends_its_stream_and_no_other():
    held = Held()
    for name in ("revoked", "withdrawn", "defect", "kept"):
        held.open(name)
    held.says = {"revoked": InvalidCredential("revoked"), "withdrawn": NotVisible(()), "defect": KeyError("x")}
    await held.streams.check_until(1)
    assert held.why == {
        "revoked": "not permitted any more",
        "withdrawn": "not permitted any more",
        "defect": "could not be checked",
    }


async def test_what_cannot_be_decided_for_long_is_ended():
    held = Held()
    held.open("doubted")
    held.says["doubted"] = DecisionUnavailable("OPA is away")
    away = DecisionUnavailable("OPA is away")
    # In one go they would be too long.
    for says, seconds in ((away, 6), (away, 3), (1, 0), (away, 9), (away, 0)):
        held.says["doubted"] = says
        await held.streams._check(held.streams._open)
        held.clock.advance(seconds)
        assert not held.why
    held.clock.advance(2)
    await held.streams.check_until(1)
    assert held.why == {"doubted": "no decision is available"}


async def test_a_stream_is_checked_until_the_decision_is_of_the_new_revision():
    held = Held()
    held.open("one")
    held.open("two")
    held.says["one"] = 1
    checking = asyncio.ensure_future(held.streams.check_until(2))
    await until(lambda: held.asked.count("one") > 2)
    assert not checking.done()
    held.says = {"one": 2, "two": 2}
    await checking


async def test_every_change_of_the_ledger_has_the_streams_checked():
    held = Held()
    held.open("one")
    watching = asyncio.ensure_future(held.streams.watch(lambda: held.revision))
    await asyncio.sleep(0)
    assert not held.asked
    held.revision = 2
    await until(lambda: held.asked)
    watching.cancel()


async def test_a_stream_without_an_end_of_its_own_is_not_open_for_ever():
    held = Held(Limits(max_age=60))
    held.open("lasting", lasting=True)
    held.open("call", principal(credential="c_2"))
    held.clock.advance(61)
    await held.streams.check_until(1)
    assert held.why == {"lasting": "open for too long"}


async def test_a_drain_ends_what_would_not_end_by_itself():
    held = Held()
    held.open("lasting", lasting=True)
    held.open("call")
    held.streams.end_lasting("draining")
    assert held.why == {"lasting": "draining"}


async def test_a_pulse_beats_for_each_member_until_it_leaves():
    class Member:
        beats = 0

        def beat(self) -> None:
            self.beats += 1

    pulse, first, second = Pulse(0.02), Member(), Member()
    pulse.join(first)
    pulse.join(second)
    await until(lambda: first.beats >= 3 and second.beats >= 3)
    pulse.leave(first)
    at = first.beats
    await until(lambda: second.beats >= at + 3)
    assert first.beats == at
    assert len(pulse) == 1
    pulse.close()
    pulse.leave(second)
    assert len(pulse) == 0
