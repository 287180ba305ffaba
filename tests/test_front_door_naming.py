"""Which tenant a request is about: its credential's; who has none may select one where that is allowed (A05)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import audit, keys
from gateway.audit import AuditTrail
from gateway.authn import Authn, CredentialIndex
from gateway.authn.tenant_keys import TenantKey
from gateway.config import Config
from gateway.endpoints.gate import is_service_key, placed
from gateway.errors import TenantMismatch
from gateway.model import ANONYMOUS, Credential, CredentialKind, ListDecision, Principal, RequestInfo
from gateway.recalled import recalled
from gateway.recording import Caller, Recording
from tests.support.door import GateAlone, gate_alone, nowhere
from tests.support.issuer import ABSENT, Issuer, auth_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.model import AuditEvent

KEY, TOKEN, OWN, SERVICE, ROOT = keys.mint(), keys.mint_token(), "team-secret", keys.mint(), keys.mint()


def stored(secret: str, principal: str, tenant: str | None, **more: Any) -> Credential:
    hashed = keys.sha256(secret)
    return Credential(f"c_{hashed[:6]}", hashed, secret[:12], principal, "", None, tenant, 0, "tests", **more)


# By a clock that stands still, because the tests may run long after they were collected.
INDEX = CredentialIndex(
    [
        stored(KEY, "service:ci", "tenant:a"),
        stored(TOKEN, "token:c_1", "tenant:a", kind=CredentialKind.TENANT_TOKEN),
        stored(SERVICE, "service:front", None),
        stored(ROOT, "user:root", None),
    ],
    clock=lambda: 0.0,
)
FOREIGN = ("tenant:b", "tenant:nobody", "tenant:A", "tenant:a ", "a", "*", "_internal", "x" * 200)


@pytest.fixture(scope="module", params=[False, True], ids=["", "act_as_on_mcp"])
async def gate(issuer: Issuer, request: pytest.FixtureRequest) -> AsyncIterator[tuple[GateAlone, bool]]:
    auth = auth_of(issuer).model_copy(update={"act_as_on_mcp": request.param})
    authn = Authn(auth, INDEX, {keys.digest(OWN): TenantKey("tenant:a", "team")})
    async with gate_alone(Config(auth=auth), authn) as alone:
        yield alone, request.param
    await authn.close()


def credentials(issuer: Issuer) -> dict[str, dict[str, str]]:
    """Return a credential of tenant:a of each kind."""
    return {
        "jwt": {"Authorization": f"Bearer {issuer.mint()}"},
        "api_key": {"X-API-Key": KEY},
        "tenant_token": {"Authorization": f"Bearer {TOKEN}"},
        "tenant_key": {"X-API-Key": OWN},
    }


@pytest.mark.parametrize("kind", ["jwt", "api_key", "tenant_token", "tenant_key"])
async def test_a05_a_credential_is_its_tenants_whatever_header_or_path_assert(
    gate: tuple[GateAlone, bool], issuer: Issuer, kind: str
) -> None:
    alone, _ = gate
    sent = credentials(issuer)[kind]
    for path in ("/mcp", "/api", "/tenant/tenant:a/mcp", "/tenant/tenant:a/servers"):
        for header in ({}, {"X-Tenant-ID": "tenant:a"}):
            answer = await alone.client.post(path, headers=sent | header)
            assert (answer.status, (await answer.json())["tenant"]) == (200, "tenant:a")
    bodies = set()
    for foreign in FOREIGN:
        asked = [(path, {"X-Tenant-ID": foreign}) for path in ("/mcp", "/api", "/tenant/tenant:a/mcp")]
        asked += [(f"/tenant/{foreign.strip()}{rest}", {}) for rest in ("/mcp", "/servers") if foreign != "tenant:a "]
        for path, header in asked:
            if header.get("X-Tenant-ID", "").strip() == "tenant:a":
                continue  # blanks around a header's value are no part of it (RFC 9110, section 5.5)
            before = len(alone.events)
            answer = await alone.client.post(path, headers=sent | header)
            body = await answer.json()
            bodies.add((answer.status, body["detail"], *body))
            (event,) = alone.events[before:]
            assert (event.type, event.reason, event.tenant) == ("AuthorizationDenied", "tenant_mismatch", "tenant:a")
            assert event.actor["kind"] == kind
    detail = "Access denied: the tenant is not the credential's"
    assert bodies == {(403, detail, "type", "title", "status", "detail", "instance")}


async def test_whoever_has_no_tenant_may_select_one_on_the_admin_api_and_policy_hears_of_it(
    gate: tuple[GateAlone, bool], issuer: Issuer
) -> None:
    alone, _ = gate
    jwt = {"Authorization": f"Bearer {issuer.mint(tenant_id=ABSENT)}"}
    for sent in ({"X-API-Key": ROOT}, {"X-API-Key": SERVICE}, jwt):
        for path, header in (("/api", {"X-Tenant-ID": "tenant:b"}), ("/tenant/tenant:b/servers", {})):
            answer = await alone.client.post(path, headers=sent | header)
            assert answer.status == 200
            assert (await answer.json())["tenant"] is None
            assert (await answer.json())["acting_for"] == "tenant:b"
        answer = await alone.client.post("/api", headers=sent)
        assert (await answer.json())["acting_for"] is None


async def test_on_mcp_only_a_key_of_a_service_may_select_a_tenant_and_only_where_that_is_switched_on(
    gate: tuple[GateAlone, bool], issuer: Issuer
) -> None:
    alone, switched_on = gate
    jwt = {"Authorization": f"Bearer {issuer.mint(tenant_id=ABSENT)}"}
    for path, header in (("/mcp", {"X-Tenant-ID": "tenant:b"}), ("/tenant/tenant:b/mcp", {})):
        answer = await alone.client.post(path, headers={"X-API-Key": SERVICE} | header)
        assert answer.status == (200 if switched_on else 403)
        if switched_on:
            assert (await answer.json())["acting_for"] == "tenant:b"
        for sent in ({"X-API-Key": ROOT}, jwt):
            assert (await alone.client.post(path, headers=sent | header)).status == 403


async def test_two_tenants_at_once_or_none_that_can_be_are_not_selected(gate: tuple[GateAlone, bool]) -> None:
    alone, _ = gate
    for header in ("", "_internal", "a/b", "x" * 129, "tenant:a, tenant:b"):
        answer = await alone.client.post("/api", headers={"X-API-Key": ROOT, "X-Tenant-ID": header})
        assert answer.status == 403
    twice = [("X-API-Key", ROOT), ("X-Tenant-ID", "tenant:a"), ("X-Tenant-ID", "tenant:b")]
    assert (await alone.client.post("/api", headers=twice)).status == 403
    sent = {"X-API-Key": ROOT, "X-Tenant-ID": "tenant:b"}
    assert (await alone.client.post("/tenant/tenant:a/servers", headers=sent)).status == 403


async def test_nobody_without_a_credential_selects_or_asserts_anything(issuer: Issuer) -> None:
    auth = auth_of(issuer).model_copy(update={"allow_anonymous": True, "act_as_on_mcp": True})
    async with gate_alone(Config(auth=auth), Authn(auth, CredentialIndex())) as alone:
        assert (await alone.client.post("/mcp")).status == 200
        assert (await alone.client.post("/mcp", headers={"X-Tenant-ID": "tenant:a"})).status == 403
        assert (await alone.client.post("/tenant/tenant:a/mcp")).status == 403
        assert (await alone.client.post("/api", headers={"X-Tenant-ID": "tenant:a"})).status == 401


TENANTS = st.one_of(st.none(), st.sampled_from(["tenant:a", "tenant:b"]))
KINDS = st.sampled_from(list(CredentialKind))
SUBJECTS = st.sampled_from(["user:jo", "service:ci", "token:c_1", "anonymous"])


@given(TENANTS, KINDS, SUBJECTS, st.lists(st.text("tenant:abAB_ /", max_size=9), max_size=3), st.booleans())
def test_no_assertion_ever_changes_the_tenant_of_a_principal(tenant, kind, subject, asserted, selects):
    who = Principal(subject, kind, tenant=tenant)
    try:
        found = placed(who, asserted, selects=selects)
    except TenantMismatch:
        assert set(asserted) - {tenant}
        return
    assert replace(found, acting_for=None) == who
    if found.acting_for is not None:
        assert selects
        assert tenant is None
        assert set(asserted) == {found.acting_for}


def test_only_a_key_of_a_service_is_one():
    service = Principal("service:x", CredentialKind.API_KEY)
    assert is_service_key(service)
    for kind in set(CredentialKind) - {CredentialKind.API_KEY}:
        assert not is_service_key(replace(service, kind=kind))
    assert not is_service_key(replace(service, subject="user:x"))
    assert not is_service_key(ANONYMOUS)


def test_an_event_says_for_whom_somebody_acted_and_says_nothing_where_nobody_did():
    who = Principal("service:front", CredentialKind.API_KEY)
    assert audit.actor_of(replace(who, acting_for="tenant:b"))["acting_for"] == "tenant:b"
    assert "acting_for" not in audit.actor_of(who)


@pytest.mark.parametrize("allow", [True, False])
async def test_an_event_belongs_to_the_selected_tenant_once_policy_has_admitted_that(allow):
    events: list[AuditEvent] = []
    who = Principal("service:front", CredentialKind.API_KEY, acting_for="tenant:b")
    caller = Caller(who, RequestInfo("id", "192.0.2.1", 0))

    async def decided() -> ListDecision:
        return ListDecision(allow=allow, epoch="e", revision=1)

    with Recording(AuditTrail(nowhere, observe=events.append), caller, "tools/list", "AuthorizationGranted") as notes:
        await notes.decided(decided())
    assert [(one.tenant, one.actor["acting_for"]) for one in events] == [("tenant:b" if allow else None, "tenant:b")]
    again = recalled(events[0])
    assert again is not None
    assert again.question.principal == who
