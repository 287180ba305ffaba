"""What a well-signed token must say (threats A13, A14, A47 and A48)."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.authn import claims
from gateway.config.schema import Oidc
from gateway.errors import InvalidCredential
from gateway.ids import TENANT_ID
from tests.support.issuer import ABSENT, Issuer, sign, trusting
from tests.support.tokens import admit, refused

NOW = 1_800_000_000.0
OIDC = Oidc(enabled=True, issuer="https://issuer.test", audience="mcp-hangar")
GOOD = {"iss": "https://issuer.test", "sub": "jo", "aud": "mcp-hangar", "iat": NOW - 10, "exp": NOW + 300}


def changed(**changes):
    return {name: value for name, value in {**GOOD, **changes}.items() if value is not ABSENT}


def read(oidc=OIDC, now=NOW, **changes):
    return claims.read(changed(**changes), oidc, bytes(32), now)


def bad(oidc=OIDC, now=NOW, **changes):
    with pytest.raises(InvalidCredential):
        read(oidc, now, **changes)


NO_DATES = [ABSENT, None, True, False, "1800000300", "", [], {}, float("nan"), float("inf"), float("-inf"), -1, 10**400]


@pytest.mark.parametrize("value", NO_DATES)
@pytest.mark.parametrize("name", ["exp", "iat"])
def test_a_token_without_a_proper_beginning_or_end_is_refused(name, value):
    bad(**{name: value})


@pytest.mark.parametrize("value", NO_DATES[1:])
def test_a_not_before_that_is_no_date_is_refused(value):
    bad(nbf=value)


@pytest.mark.parametrize("ago", [30, 31, 3600])
def test_an_expired_token_is_refused_beyond_the_leeway(ago):
    bad(exp=NOW - ago)
    assert read(exp=NOW - 29)


def test_a_token_of_the_future_is_refused_beyond_the_leeway():
    assert read(iat=NOW + 30, nbf=NOW + 30)
    bad(iat=NOW + 31)
    bad(nbf=NOW + 31)


def test_without_leeway_the_second_counts():
    strict = OIDC.model_copy(update={"leeway_seconds": 0})
    assert read(strict, exp=NOW + 1, iat=NOW, nbf=NOW)
    for changes in ({"exp": NOW}, {"iat": NOW + 1}, {"nbf": NOW + 1}):
        bad(strict, **changes)


def test_a_token_for_more_than_a_day_is_refused():
    assert read(iat=NOW, exp=NOW + 86400)
    bad(iat=NOW, exp=NOW + 86401)
    bad(iat=NOW, exp=NOW + 10 * 365 * 86400)


@pytest.mark.parametrize("name", ["nonce", "at_hash", "c_hash", "s_hash", "events"])
@pytest.mark.parametrize("value", ["x", "", None, {}])
def test_an_id_token_or_a_security_event_is_not_an_access_token(name, value):
    bad(**{name: value})


@pytest.mark.parametrize("value", [{"jkt": "x"}, {"x5t#S256": "x"}, {}, None])
def test_a_token_bound_to_a_key_is_not_accepted_from_just_anybody(value):
    bad(cnf=value)


@pytest.mark.parametrize(
    "mark", [{"typ": "ID"}, {"typ": "Refresh"}, {"typ": "Offline"}, {"typ": None}, {"typ": []}, {"token_use": "id"}]
)
def test_a_token_that_its_issuer_marks_as_another_kind_is_refused(mark):
    bad(**mark)


@pytest.mark.parametrize("mark", [{"typ": "Bearer"}, {"typ": "at+jwt"}, {"token_use": "access"}])
def test_a_token_that_its_issuer_marks_as_access_token_is_read(mark):
    assert read(**mark)


@pytest.mark.parametrize(
    "sub", [ABSENT, None, "", " ", "jo ", " jo", 5, True, ["jo"], {}, "a\nb", "a\x00", "\ud800", "x" * 256]
)
def test_a_subject_that_is_no_printable_name_is_refused(sub):  # fmt: skip
    bad(sub=sub)


def test_the_subject_is_the_configured_claim_and_becomes_a_user():
    assert read(sub="x" * 255).principal.subject == "user:" + "x" * 255
    by_mail = OIDC.model_copy(update={"subject_claim": "email"})
    assert read(by_mail, email="jo@example.com").principal.subject == "user:jo@example.com"
    bad(by_mail)


@pytest.mark.parametrize(
    "tenant",
    [None, "", " ", "tenant:a ", "_internal", "a/b", "a[0]", "x" * 129, 5, True, ["tenant:a"], {}, "tenant:ä", "a\n"],
)
def test_a_malformed_tenant_claim_is_a_bad_token_and_not_no_tenant(tenant):
    bad(tenant_id=tenant)


def test_a_missing_tenant_claim_is_no_tenant():
    assert read().principal.tenant is None


def test_the_tenant_is_the_configured_claim_and_no_other():
    other = OIDC.model_copy(update={"tenant_claim": "https://example.com/tenant"})
    found = read(other, **{"https://example.com/tenant": "tenant:a", "tenant_id": "tenant:b"})
    assert found.principal.tenant == "tenant:a"


def test_an_issuer_speaks_for_its_listed_tenants_only():
    bounded = OIDC.model_copy(update={"tenants": ("tenant:a",)})
    assert read(bounded, tenant_id="tenant:a").principal.tenant == "tenant:a"
    assert read(bounded).principal.tenant is None
    for tenant in ("tenant:b", "tenant:", "tenant:aa", "TENANT:A"):
        bad(bounded, tenant_id=tenant)


@given(st.text(max_size=20))
def test_a_tenant_is_taken_exactly_as_the_token_says_it_or_not_at_all(tenant):
    try:
        assert read(tenant_id=tenant).principal.tenant == tenant
    except InvalidCredential:
        assert not TENANT_ID.fullmatch(tenant)


@pytest.mark.parametrize("groups", [5, {}, None, [5], ["data", None], ["data", ""], [["data"]], ["a\nb"], ["x" * 257]])
def test_malformed_groups_are_a_bad_token(groups):
    bad(groups=groups)


def test_groups_are_a_list_or_one_name_and_a_hundred_at_most():
    assert read().principal.groups == ()
    assert read(groups="data").principal.groups == ("data",)
    assert read(groups=["b", "a"]).principal.groups == ("b", "a")
    assert len(read(groups=[str(number) for number in range(150)]).principal.groups) == 100
    renamed = OIDC.model_copy(update={"groups_claim": "roles"})
    assert read(renamed, groups=["no"], roles=["yes"]).principal.groups == ("yes",)


def test_scopes_are_read_in_both_spellings():
    assert read(scope="a b").principal.scopes == ("a", "b")
    assert read(scp="a b").principal.scopes == ("a", "b")
    assert read(scp=["a", "b"]).principal.scopes == ("a", "b")
    assert read(scope="a", scp=["b"]).principal.scopes == ("a",)
    assert read(scope="").principal.scopes == ()
    bad(scope=5)


def test_the_credential_is_named_by_its_jti_or_by_its_hash_and_never_like_a_key():
    for changes, name in (({"jti": "c_17"}, "jwt:c_17"), ({}, "jwt:" + "0" * 32)):
        found = read(**changes).principal.credential
        assert found is not None
        assert found.id == name
        assert found.expires_at == NOW + 300
        assert (found.role, found.scope) == (None, None)
    for jti in (5, "", None, "x" * 256, "a\nb"):
        bad(jti=jti)


AUDIENCES = [
    "mcp-hangar",
    "https://hangar.example.com",
    "https://hangar.example.com/",
    "https://hangar.example.com/mcp",
]


@pytest.fixture(scope="module")
async def issuer():
    async with Issuer().serve() as running:
        yield running


@pytest.fixture(scope="module", params=["", "/"])
async def authn(issuer, request):
    async with trusting(issuer, resource_uri=f"https://hangar.example.com{request.param}") as running:
        yield running


@pytest.mark.parametrize("audience", AUDIENCES)
async def test_a_token_for_this_gateway_or_the_endpoint_called_is_admitted(issuer, authn, audience):
    for aud in (audience, [audience], ["https://else.example", audience]):
        assert await admit(authn, issuer.mint(aud=aud), "https://hangar.example.com/mcp")


@pytest.mark.parametrize(
    "aud",
    [
        ABSENT,
        None,
        "",
        [],
        [""],
        {},
        {"aud": "mcp-hangar"},
        [["mcp-hangar"]],
        ["mcp-hangar", 5],
        True,
        "mcp-hanga",
        "mcp-hangar2",
        "MCP-HANGAR",
        "xmcp-hangar",
        " mcp-hangar",
        "mcp-hangar https://else.example",
        "https://hangar.example.com//",
        "http://hangar.example.com",
        "https://hangar.example.com.evil.example",
        "https://hangar.example.com/mcp/",
        "https://hangar.example.com/other",
        "https://else.example",
    ],
)
async def test_a_token_for_another_audience_is_refused(issuer, authn, aud):
    await refused(authn, issuer.mint(aud=aud), "https://hangar.example.com/mcp")


@pytest.mark.parametrize(
    "literal", ["NaN", "Infinity", "-Infinity", "1e400", "1e999999", "9" * 400, "true", '"9999999999"']
)
async def test_an_end_of_time_in_the_token_itself_is_refused(issuer, authn, literal):  # fmt: skip
    payload = json.dumps(issuer.claims(exp=ABSENT))[:-1] + f', "exp": {literal}}}'
    await refused(authn, sign(issuer.header(), payload, issuer.keys[0], issuer.algorithm))


async def test_a_refresh_or_id_token_of_the_same_issuer_is_refused_at_the_door(issuer, authn):
    now = int(time.time())
    for changes in ({"nonce": "n"}, {"at_hash": "h"}, {"cnf": {"jkt": "x"}}, {"typ": "Refresh"}, {"exp": now - 60}):
        await refused(authn, issuer.mint({"typ": "JWT"}, **changes))
