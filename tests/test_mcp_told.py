"""What an agent is told of what its server says: under its own ids, and only what it asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mcp import answers, told
from gateway.mcp.agent import Agent
from gateway.mcp.answers import ServerRequest
from gateway.mcp.eras import Era
from gateway.mcp.levels import LEVELS

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
names = st.text(st.characters(codec="utf-8"), max_size=8)
MODERN = Agent(Era.MODERN, "2026-07-28", level="warning")
IN_SESSION = Agent(Era.LEGACY, "2025-11-25", {"elicitation": {"url": {}}}, "session")


def said(method: str, params: Any) -> ServerRequest:
    """Return a notification as it is read from a server."""
    message = answers.parse(json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode(), 1)
    assert isinstance(message, ServerRequest)
    return message


def heard(agent: Agent, method: str, params: Any, token: tuple[str | int, int] | None = None) -> Any:
    """Return what the agent hears of it, None where it hears nothing."""
    body = told.Filter(agent, token).passed(said(method, params))
    return None if body is None else json.loads(body)


@given(
    st.dictionaries(names.filter(lambda name: name not in ("progressToken", "_meta")), values, max_size=4),
    names | st.integers(0, 2**53),
)
def test_progress_comes_under_the_agents_own_token_and_is_else_as_it_was_said(more: dict[str, Any], token: str | int):
    told_ = heard(MODERN, told.PROGRESS, more | {"progressToken": 17}, (token, 17))
    assert told_ == {"jsonrpc": "2.0", "method": told.PROGRESS, "params": more | {"progressToken": token}}
    assert type(told_["params"]["progressToken"]) is type(token)


@pytest.mark.parametrize("theirs", [16, 170, "17", 17.0, None, [17], True, {"a": 17}])
def test_progress_of_another_call_is_not_passed_on(theirs: Any):
    assert heard(MODERN, told.PROGRESS, {"progressToken": theirs, "progress": 1}, ("mine", 17)) is None
    assert heard(MODERN, told.PROGRESS, {"progress": 1}, ("mine", 17)) is None
    assert heard(MODERN, told.PROGRESS, {"progressToken": 17, "progress": 1}) is None


@pytest.mark.parametrize("level", LEVELS)
def test_a_log_message_passes_at_or_above_the_level_that_was_asked_for(level: str):
    passes = LEVELS.index(level) >= LEVELS.index("warning")
    assert (heard(MODERN, told.MESSAGE, {"level": level, "data": [1]}) is not None) is passes
    assert heard(Agent(Era.MODERN, "2026-07-28"), told.MESSAGE, {"level": level, "data": 1}) is None
    assert heard(IN_SESSION, told.MESSAGE, {"level": level, "data": 1})["params"] == {"level": level, "data": 1}


@given(values.filter(lambda value: value not in LEVELS))
def test_a_log_message_of_no_level_is_none(level: Any):
    assert heard(IN_SESSION, told.MESSAGE, {"level": level, "data": 1}) is None


def test_the_end_of_an_elicitation_by_url_is_for_whom_can_be_asked_by_one():
    params = {"elicitationId": "e1"}
    assert heard(IN_SESSION, told.ELICITED, params)["params"] == params
    assert heard(Agent(Era.LEGACY, "2025-11-25", {"elicitation": {}}, "session"), told.ELICITED, params) is None
    assert heard(MODERN, told.ELICITED, params) is None


@given(names, values)
def test_what_no_agent_knows_or_asked_for_is_dropped(method: str, params: Any):
    assert heard(IN_SESSION, f"notifications/{method}/other", params, ("mine", 17)) is None


@given(st.dictionaries(names, values, max_size=3))
def test_of_meta_only_what_is_the_servers_to_set_goes_on(theirs: dict[str, Any]):
    kept = {name: value for name, value in theirs.items() if not name.startswith("io.modelcontextprotocol/")}
    kept.pop("progressToken", None)
    meta = theirs | {"io.modelcontextprotocol/subscriptionId": 1, "progressToken": 3}
    params = heard(IN_SESSION, told.MESSAGE, {"level": "info", "data": 1, "_meta": meta})["params"]
    assert params.get("_meta", {}) == kept


@given(values.filter(lambda value: not isinstance(value, dict)))
def test_parameters_that_are_none_are_told_as_none(params: Any):
    assert told.params_of(said("x", params)) == {}
    assert heard(IN_SESSION, told.PROGRESS, params, ("mine", 17)) is None


@given(names, st.none() | st.dictionaries(names, values, max_size=3), names)
def test_what_an_agent_is_asked_and_answers_is_json_whatever_is_in_it(method: str, params: Any, id_: str):
    body = None if params is None else json.dumps(params).encode()
    more = {} if params is None else {"params": params}
    assert json.loads(told.request(id_, method, body)) == {"jsonrpc": "2.0", "id": id_, "method": method, **more}
    theirs = json.dumps(id_).encode()
    answered = {"result": params or {}}
    assert json.loads(told.answer(theirs, answered)) == {"jsonrpc": "2.0", "id": id_, **answered}
    taken_back = json.loads(told.cancelled(id_))
    assert (taken_back["method"], taken_back["params"]) == ("notifications/cancelled", {"requestId": id_})
