"""What a server hands out for its next round: good for one call of one caller, and not for long."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import Raw

from gateway.errors import StateRefused, UpstreamFailed
from gateway.ids import Ref
from gateway.mcp.answers import Answer
from gateway.mcp.envelope import Request
from gateway.mcp.eras import Era
from gateway.mcp.named import asked
from gateway.model import CredentialKind, Principal
from gateway.rounds import MAX_STATE_BYTES, STATE_SECONDS, States, binding
from gateway.seals import Seals
from tests.support.clock import Clock

JO = Principal("jo", CredentialKind.JWT, tenant="t", issuer="https://issuer.example")
REF = Ref.of_tool("bank", "charge")


def bound(principal: Principal = JO, ref: Ref = REF, arguments: object = None) -> bytes:
    params = {"name": "charge", "arguments": {"amount": 1, "to": "al"} if arguments is None else arguments}
    return binding(principal, ref, asked(Request(1, "tools/call", params), Era.MODERN))


def states(now: float = 1_000_000.0) -> States:
    return States(Seals(b"shared", clock=Clock(now)), clock=Clock(now))


def handed_out(state: bytes) -> Answer:
    return Answer({"resultType": Raw(b'"input_required"'), "requestState": Raw(state)})


def test_a41_a_state_opens_for_the_call_that_it_was_handed_out_for_until_its_time() -> None:
    sealed = states().sealed("bank", handed_out(b'"step 2"'), bound())
    state = bytes(sealed.result["requestState"]).decode().strip('"')
    assert "step" not in state
    # The same arguments, however they are written.
    assert states().opened(state, bound(arguments={"to": "al", "amount": 1})) == "step 2"
    assert states(1_000_000.0 + STATE_SECONDS - 1).opened(state, bound()) == "step 2"
    others = [
        bound(replace(JO, subject="al")),
        bound(replace(JO, tenant="u")),
        bound(replace(JO, issuer="https://another.example")),
        bound(ref=Ref.of_tool("shop", "charge")),
        bound(arguments={"amount": 1.0, "to": "al"}),
    ]
    for other in others:
        with pytest.raises(StateRefused):
            states().opened(state, other)
    with pytest.raises(StateRefused, match="time is over"):
        states(1_000_000.0 + STATE_SECONDS).opened(state, bound())


@pytest.mark.parametrize("state", [b"7", b"null", b'{"a":1}', b'"%b"' % (b"x" * MAX_STATE_BYTES)])
def test_a_state_that_is_no_text_or_too_much_of_it_is_not_handed_on(state: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        states().sealed("bank", handed_out(state), bound())


def test_where_a_server_hands_out_no_state_nothing_is_added() -> None:
    answer = Answer({"resultType": Raw(b'"input_required"')})
    assert states().sealed("bank", answer, bound()) is answer
