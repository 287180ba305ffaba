"""What the corridor does with what policy says, beside forwarding and refusing."""

from __future__ import annotations

import pytest

from gateway.authn import CredentialIndex
from gateway.authn.credentials import principal_of
from gateway.endpoints.problems import response_to
from gateway.errors import InvalidCredential
from gateway.keys import digest, mint, mint_token, sha256, shown
from gateway.model import Credential, CredentialKind, ListDecision, Principal, Reason
from gateway.questioning import require_credential


def revoked(secret: str, at: int | None, kind: CredentialKind = CredentialKind.API_KEY) -> Credential:
    return Credential(
        kind=kind,
        id="c_1",
        hash=sha256(secret),
        prefix=shown(secret),
        principal="service:ci",
        name="",
        role=None,
        tenant="tenant:a",
        created_at=0,
        created_by="user:root",
        revoked_at=at,
    )


def live(secret: str, kind: CredentialKind = CredentialKind.API_KEY) -> Principal:
    known = CredentialIndex([revoked(secret, None, kind)]).find(digest(secret), 0)
    assert known is not None
    return principal_of(known)


@pytest.mark.parametrize("kind", [CredentialKind.API_KEY, CredentialKind.TENANT_TOKEN])
def test_a_revocation_known_to_policy_alone_is_answered_like_one_known_to_authentication(kind):
    secret = mint() if kind is CredentialKind.API_KEY else mint_token()
    principal = live(secret, kind)
    decision = ListDecision(allow=False, epoch="e", revision=1, reasons=(Reason("credential_revoked", "frontdoor"),))
    with pytest.raises(InvalidCredential) as by_policy:
        require_credential(decision, principal)
    with pytest.raises(InvalidCredential) as by_authn:
        CredentialIndex([revoked(secret, 1, kind)]).find(digest(secret), 0)
    answers = [response_to(one.value, "id", "ApiKey") for one in (by_policy, by_authn)]
    assert answers[0].body == answers[1].body
    assert {answer.status for answer in answers} == {401}


def test_a_refusal_for_another_reason_leaves_the_credential_alone():
    decision = ListDecision(allow=False, epoch="e", revision=1, reasons=(Reason("no_tenant", "ctx"),))
    require_credential(decision, live(mint()))
