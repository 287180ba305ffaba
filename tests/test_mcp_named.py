"""What a request asks of one named thing, and what an agent says that it can."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mcp import capabilities
from gateway.mcp.agent import Agent
from gateway.mcp.envelope import Request
from gateway.mcp.eras import Era
from gateway.mcp.errors import INVALID_PARAMS, Rejection
from gateway.mcp.levels import LEVELS, reaches
from gateway.mcp.named import NAMED, Asked, asked, reference
from gateway.rounds import METHODS

LEVEL = "io.modelcontextprotocol/logLevel"
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
ERAS = pytest.mark.parametrize("era", list(Era))


def call(**params):
    return Request(1, "tools/call", {"name": "charge", "arguments": {"amount": 1}, **params})


def test_a_call_names_a_tool_and_has_an_object_of_arguments_or_none():
    assert asked(call(), Era.MODERN) == Asked(1, "tools/call", "charge", {"amount": 1}, {})
    assert asked(Request("a", "tools/call", {"name": "charge"}), Era.LEGACY) == Asked(
        "a", "tools/call", "charge", None, {}
    )


def test_only_a_modern_call_comes_in_rounds():
    rounds = {"inputResponses": {"a": 1}, "requestState": "s"}
    modern, legacy = (asked(call(**rounds), era) for era in (Era.MODERN, Era.LEGACY))
    assert (modern.responses, modern.state) == ({"a": 1}, "s")
    assert (legacy.responses, legacy.state) == (None, None)


@ERAS
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"name": None},
        {"name": 1},
        {"name": ["charge"]},
        {"name": "charge", "arguments": None},
        {"name": "charge", "arguments": []},
        {"name": "charge", "arguments": "{}"},
    ],
)
def test_a_call_without_a_name_or_with_odd_arguments_has_invalid_parameters(params, era):
    rejection = asked(Request(1, "tools/call", params), era)
    assert isinstance(rejection, Rejection)
    assert (rejection.code, rejection.id) == (INVALID_PARAMS, 1)


@pytest.mark.parametrize(
    "odd",
    [
        {"inputResponses": None},
        {"inputResponses": []},
        {"requestState": None},
        {"requestState": 1},
        {"_meta": {LEVEL: "loud"}},
        {"_meta": {LEVEL: None}},
        {"_meta": {LEVEL: ["info"]}},
    ],
)
def test_odd_rounds_and_levels_have_invalid_parameters_in_the_modern_era_and_no_meaning_before(odd):
    assert isinstance(asked(call(**odd), Era.MODERN), Rejection)
    assert isinstance(asked(call(**odd), Era.LEGACY), Asked)


@pytest.mark.parametrize(
    ("token", "kept"),
    [(1, 1), ("1", "1"), (2**70, 2**70), ("", ""), (True, None), (1.5, None), ([], None), (None, None)],
)
def test_a_progress_token_is_a_text_or_an_integer_and_else_none(token, kept):
    found = asked(call(_meta={"progressToken": token}), Era.MODERN)
    assert (found.token, type(found.token)) == (kept, type(kept))


def test_whatever_may_come_in_rounds_names_something():
    assert NAMED.keys() >= METHODS


@ERAS
@pytest.mark.parametrize(
    ("type_", "member", "kind"), [("ref/prompt", "name", "prompt"), ("ref/resource", "uri", "resource")]
)
def test_a_completion_is_of_what_it_refers_to_and_holds_the_arguments_so_far(era, type_, member, kind):
    argument, context = {"name": "city", "value": "par"}, {"arguments": {"country": "fr"}}
    params = {"ref": {"type": type_, member: "x", "title": "X"}, "argument": argument, "context": context, "more": 1}
    found = asked(Request(1, "completion/complete", params), era)
    assert (found.name, found.kind, found.arguments) == ("x", kind, {"country": "fr", "city": "par"})
    assert found.completion == {"argument": argument, "context": context}
    assert reference(found.kind, "y") == {"type": type_, member: "y"}


REF, ARGUMENT = {"type": "ref/prompt", "name": "x"}, {"name": "a", "value": ""}


@ERAS
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"ref": REF},
        {"argument": ARGUMENT},
        {"ref": {"type": "ref/tool", "name": "x"}, "argument": ARGUMENT},
        {"ref": {"type": ["ref/prompt"], "name": "x"}, "argument": ARGUMENT},
        {"ref": {"type": "ref/resource", "name": "x"}, "argument": ARGUMENT},
        {"ref": REF, "argument": {"name": "a"}},
        {"ref": REF, "argument": {"name": "a", "value": 1}},
        {"ref": REF, "argument": ARGUMENT, "context": []},
        {"ref": REF, "argument": ARGUMENT, "context": {"arguments": 1}},
    ],
)
def test_a_completion_of_nothing_or_without_an_argument_has_invalid_parameters(params, era):
    assert isinstance(asked(Request(1, "completion/complete", params), era), Rejection)


def test_what_takes_no_arguments_has_none_whatever_an_agent_sends():
    assert asked(Request(1, "resources/read", {"uri": "x:", "arguments": [1]}), Era.MODERN).arguments is None


@given(ANYTHING)
def test_whatever_an_agent_declares_no_more_is_passed_on_than_is_known(declared):
    for found in (capabilities.relayed(declared), capabilities.kept(declared)):
        assert found.keys() <= {"sampling", "elicitation", "roots"}
        assert all(isinstance(value, dict) for value in found.values())
    assert len(str(capabilities.kept(declared))) < 200


@given(declared=ANYTHING, method=st.text(max_size=20), params=ANYTHING)
def test_nobody_can_be_asked_what_no_capability_is_of(declared, method, params):
    assert not capabilities.can(capabilities.kept(declared), method, params)


@pytest.mark.parametrize(
    ("declared", "form", "url"),
    [
        ({"elicitation": {}}, True, False),
        ({"elicitation": {"form": {}}}, True, False),
        ({"elicitation": {"url": {}}}, False, True),
        ({"elicitation": {"form": {}, "url": {}}}, True, True),
        ({"sampling": {}}, False, False),
        ({}, False, False),
    ],
)
def test_a_person_is_asked_in_the_ways_that_its_agent_declares(declared, form, url):
    for params, expected in (({}, form), (None, form), ({"mode": "form"}, form), ({"mode": "url"}, url)):
        assert capabilities.can(declared, "elicitation/create", params) is expected
    assert not capabilities.can(declared, "elicitation/create", {"mode": "other"})


def test_a_level_reaches_itself_and_those_below():
    for severity, level in enumerate(LEVELS):
        assert [reaches(level, threshold) for threshold in LEVELS] == [at <= severity for at in range(len(LEVELS))]
    assert not reaches("loud", "debug")
    assert not reaches(None, "debug")


def test_what_an_agent_hears_of_logs_is_what_it_asked_for_or_in_a_session_what_the_server_likes():
    assert Agent(Era.MODERN).threshold is None
    assert Agent(Era.LEGACY).threshold is None
    assert Agent(Era.LEGACY, session="s").threshold == "debug"
    assert Agent(Era.LEGACY, session="s", level="error").threshold == "error"
    assert Agent(Era.MODERN, level="error").threshold == "error"
