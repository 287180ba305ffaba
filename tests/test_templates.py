"""URI templates the other way round: whatever RFC 6570 expands a template to is known as one of its URIs."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ids import RESOURCE_TEMPLATE
from gateway.templates import Template

RESERVED = ":/?#[]@!$&'()*+,;="


def expanded(operator: str, name: str, value: str | None) -> str:
    """Expand one expression with one variable (RFC 6570, section 3.2, appendix A)."""
    if value is None:
        return ""
    safe = quote(value, safe=RESERVED if operator in "+#" and operator else "")
    first = "" if operator in ("", "+") else operator
    named = {";": f"{name}={safe}" if value else name, "?": f"{name}={safe}", "&": f"{name}={safe}"}
    return first + named.get(operator, safe)


OPERATORS = st.sampled_from(["", "+", "#", ".", "/", ";", "?", "&"])
LITERALS = st.text(alphabet="abc:/.-_", max_size=4)
VALUES = st.none() | st.text(alphabet="abc /.?&=%é", max_size=5)


@given(LITERALS, st.lists(st.tuples(OPERATORS, VALUES, LITERALS), min_size=1, max_size=3))
def test_every_expansion_of_a_template_matches_it(start: str, parts: list[tuple[str, str | None, str]]):
    text = start + "".join(f"{{{operator}v}}{literal}" for operator, _, literal in parts)
    uri = start + "".join(expanded(operator, "v", value) + literal for operator, value, literal in parts)
    assert RESOURCE_TEMPLATE.fullmatch(text)
    assert Template(text).matches(uri)


@pytest.mark.parametrize(
    ("template", "uri", "matches"),
    [
        ("file:///{name}", "file:///a", True),
        ("file:///{name}", "file:///", True),
        ("file:///{name}", "file:///a/b", False),
        ("file:///{+path}", "file:///a/b", True),
        ("file:///{name}.txt", "file:///a.b.txt", True),
        ("file:///{name}.txt", "file:///a.txt.bak", False),
        ("file:///{name}", "http:///a", False),
        ("db://{a}/{b}", "db://x/y", True),
        ("db://{a}/{b}", "db://x", False),
        ("db://x{/rest*}", "db://x", True),
        ("db://x{/rest*}", "db://x/y/z", True),
        ("s://x{?q,lang}", "s://x?q=1&lang=de", True),
        ("s://x{?q}", "s://x", True),
        ("s://x{?q}", "s://xq=1", False),
        ("s://x{#frag}", "s://x#a/b", True),
        ("a.b{x}", "aXb1", False),
    ],
)
def test_a_uri_matches_where_the_template_may_have_been_expanded_to_it(template: str, uri: str, matches: bool):
    assert Template(template).matches(uri) is matches


@pytest.mark.parametrize("text", ["a{", "a}", "{}", "a{{b}}", "{+}", "{a{b}c}"])
def test_braces_that_make_no_expression_are_no_template(text: str):
    with pytest.raises(ValueError, match="not a URI template"):
        Template(text)


def test_a_long_uri_against_many_expressions_takes_one_step_for_each_character():
    # A backtracking matcher would not end.
    assert not Template("x{a}" * 16 + "!").matches("x" + "a" * 2_000)
