"""Canonical ids: unambiguous both ways, and what of a server's own names an agent can be shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ids import RESOURCE_TEMPLATE, RESOURCE_URI, Kind, Mode, Ref, flat_name

SERVERS = st.from_regex(r"(?:[A-Za-z0-9._:-]{1,8}:)?[A-Za-z0-9._-]{1,8}", fullmatch=True)


@given(st.builds(Ref, SERVERS, st.sampled_from(Kind), st.text(min_size=1)))
def test_an_id_reads_as_what_it_was_written_from(ref: Ref):
    assert Ref.parse(str(ref)) == ref


@given(*[st.builds(Ref, SERVERS, st.sampled_from(Kind), st.text(min_size=1))] * 2)
def test_no_two_things_have_one_id(one: Ref, other: Ref):
    assert (str(one) == str(other)) is (one == other)


@pytest.mark.parametrize(
    "text", ["", "x", "/x", "#prompts/x", "s/", "s#", "s#prompts/", "s#resources/", "s#tools/x", "s#prompt/x"]
)
def test_what_has_no_server_or_no_name_is_no_id(text: str):
    with pytest.raises(ValueError, match="not a canonical id"):
        Ref.parse(text)


@pytest.mark.parametrize(
    ("id_", "possible"),
    [
        ("payments/charge", True),
        ("payments/a/b", True),
        ("team:a:reports/lend", True),
        ("payments/with space", False),
        ("payments/naïve", False),
        ("pay ments/charge", False),
        ("_hidden:reports/lend", False),
        ("payments#prompts/greet me", True),
        ("payments#prompts/ greet", False),
        ("payments#resources/file:///a", True),
        ("payments#resources/file:///{name}", True),
        ("payments#resources/file:///{}", False),
        ("payments#resources/file:///a b", False),
        ("payments/" + "x" * 129, False),
        ("payments#resources/" + "x" * 2_049, False),
    ],
)
def test_an_id_is_possible_where_an_agent_could_be_shown_what_it_names(id_: str, possible: bool):
    assert Ref.parse(id_).is_possible is possible


@given(st.text(alphabet="ab{}+#/?&;.,*:%", max_size=12))
def test_a_uri_is_no_template_and_a_template_no_uri(text: str):
    assert not (RESOURCE_URI.fullmatch(text) and RESOURCE_TEMPLATE.fullmatch(text))


def test_in_egress_names_have_the_server_in_front_as_its_tenant_calls_it_and_uris_stay_as_they_are():
    refs = [Ref.parse(id_) for id_ in ("payments/charge", "team-a:reports#prompts/greet", "s#resources/file:///a")]
    assert [flat_name(ref, Mode.EGRESS) for ref in refs] == ["payments__charge", "reports__greet", "file:///a"]
    assert [flat_name(ref, Mode.FRONT_DOOR) for ref in refs] == ["charge", "greet", "file:///a"]
