"""Exactly one credential, in a header (threats A43 and A49)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway.authn import Presented, present
from gateway.errors import AmbiguousCredential, InvalidCredential

KEY = "mcp_0123456789"


def presented(*headers, query=()):
    return present(CIMultiDict(headers), query, "X-API-Key")


def test_no_credential_is_none():
    assert presented(("Accept", "*/*"), ("Cookie", "session=1")) is None


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
def test_a_bearer_token_is_found_whatever_the_case_of_header_and_scheme(name, scheme):
    assert presented((name, f"{scheme} abc.def.ghi")) == Presented("abc.def.ghi", "bearer")


@pytest.mark.parametrize("name", ["X-API-Key", "x-api-key"])
def test_a_key_is_found_on_its_header(name):
    assert presented((name, KEY)) == Presented(KEY, "header")


def test_the_key_header_is_the_configured_one_alone():
    headers = CIMultiDict([("X-Api-Token", KEY), ("X-API-Key", "mcp_other")])
    assert present(headers, (), "X-Api-Token") == Presented(KEY, "header")


@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", "Bearer a"), ("Authorization", "Bearer b")],
        [("Authorization", "Bearer a"), ("authorization", "Bearer a")],
        [("Authorization", "Bearer a"), ("X-API-Key", KEY)],
        [("Authorization", "Basic eDp5"), ("X-API-Key", KEY)],
        [("Authorization", ""), ("X-API-Key", KEY)],
        [("X-API-Key", KEY), ("x-api-key", KEY)],
    ],
)
def test_two_credentials_are_ambiguous_even_where_one_is_good_or_both_are_equal(headers):
    with pytest.raises(AmbiguousCredential):
        presented(*headers)


@pytest.mark.parametrize(
    "name",
    [
        "access_token",
        "token",
        "api_key",
        "apikey",
        "API_KEY",
        "x-api-key",
        "Authorization",
        "jwt",
        "id_token",
        "bearer",
    ],
)
@pytest.mark.parametrize("headers", [[], [("Authorization", "Bearer a")], [("X-API-Key", KEY)]])
def test_a_credential_in_the_query_string_is_refused_with_or_without_one_in_a_header(name, headers):
    with pytest.raises(AmbiguousCredential):
        presented(*headers, query=[name])


def test_other_query_parameters_are_nobodys_credential():
    assert presented(query=["limit", "after", "tenant", "wait", "tokens"]) is None


@pytest.mark.parametrize(
    "value", ["Basic eDp5", "ApiKey mcp_x", "DPoP abc", "Digest a=b", "abc.def.ghi", "", " ", "Bearerabc", "Negotiate"]
)
def test_another_scheme_is_an_invalid_credential_and_not_no_credential(value):
    with pytest.raises(InvalidCredential):
        presented(("Authorization", value))


@pytest.mark.parametrize(
    "token", ["", " ", "a b", "a, Bearer b", "a,b", "a;b", '"a"', "a\tb", "\u00e4", "a\x00", "\ud800", "=", "a=b"]
)
def test_an_empty_or_malformed_token_is_an_invalid_credential(token):
    with pytest.raises(InvalidCredential):
        presented(("Authorization", f"Bearer {token}"))
    with pytest.raises(InvalidCredential):
        presented(("X-API-Key", token))


def test_a_credential_of_more_than_8_kb_is_refused_and_one_of_exactly_8_kb_is_read():
    assert presented(("Authorization", "Bearer " + "a" * 8192)) is not None
    assert presented(("X-API-Key", "a" * 8192)) is not None
    for header in (("Authorization", "Bearer " + "a" * 8193), ("X-API-Key", "a" * 8193)):
        with pytest.raises(InvalidCredential):
            presented(header)


@pytest.mark.parametrize("name", ["X_API_Key", "X_API-Key", "X-API_Key", "HTTP_AUTHORIZATION", "X-Authorization"])
def test_a_header_with_underscores_is_not_its_twin_with_hyphens(name):
    assert presented((name, "mcp_forged")) is None
    assert presented((name, "mcp_forged"), ("X-API-Key", KEY)) == Presented(KEY, "header")


def test_a_presented_secret_is_in_no_representation():
    assert "sesame" not in repr(Presented("sesame", "bearer"))


@given(st.lists(st.tuples(st.sampled_from(["Authorization", "X-API-Key", "Accept"]), st.text(max_size=30)), max_size=4))
def test_whatever_is_sent_there_is_one_credential_or_none_or_a_refusal(headers):
    carrying = [value for name, value in headers if name != "Accept"]
    try:
        found = presented(*headers)
    except (AmbiguousCredential, InvalidCredential):
        assert carrying
    else:
        assert len(carrying) == (0 if found is None else 1)
