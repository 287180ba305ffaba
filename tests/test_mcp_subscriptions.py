"""Subscriptions of 2026-07-28 as messages: what is asked for, what of it is honoured, and how it is told."""

from __future__ import annotations

import json
from typing import Any

import mcp_types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ids import Kind
from gateway.mcp import subscriptions
from gateway.mcp.envelope import Request
from gateway.mcp.errors import Rejection

ids = st.text(st.characters(codec="utf-8"), max_size=10) | st.integers(-(2**53), 2**53)
uris = st.lists(st.text(st.characters(codec="utf-8"), max_size=10), max_size=5, unique=True)
TOLD = (
    mcp_types.ToolListChangedNotification,
    mcp_types.PromptListChangedNotification,
    mcp_types.ResourceListChangedNotification,
    mcp_types.ResourceUpdatedNotification,
)
members = st.dictionaries(st.text(max_size=10), st.booleans() | st.integers() | st.text(max_size=3), max_size=4)


def asked(notifications: Any) -> subscriptions.Wanted | Rejection:
    return subscriptions.wanted(Request("s", "subscriptions/listen", {"notifications": notifications}))


@given(members, st.dictionaries(st.sampled_from(sorted(subscriptions.HONOURED)), st.booleans()), uris)
def test_of_any_filter_what_is_served_and_wanted_is_honoured_and_nothing_else(
    more: dict[str, Any], flags: dict[str, bool], uris: list[str]
):
    wanted = asked(more | flags | {"resourceSubscriptions": uris})
    kinds = {subscriptions.HONOURED[name] for name, value in flags.items() if value}
    assert wanted == subscriptions.Wanted(frozenset(kinds), tuple(dict.fromkeys(uris)))
    assert asked(more) == subscriptions.Wanted(frozenset(), ())


@pytest.mark.parametrize("uris", [None, "x:", [1], {"x:": True}, ["x:"] * (subscriptions.MAX_WATCHED + 1)])
def test_resources_that_are_no_list_of_uris_or_too_many_have_invalid_parameters(uris: Any):
    assert isinstance(asked({"resourceSubscriptions": uris}), Rejection)


@pytest.mark.parametrize(
    ("watched", "uri", "covered"),
    [
        ("file:///a", "file:///a", True),
        ("file:///a", "file:///a/b", True),
        ("file:///a/", "file:///a/b", True),
        ("file:///a", "file:///ab", False),
        ("file:///a/b", "file:///a", False),
    ],
)
def test_who_watches_a_resource_hears_of_it_and_of_what_lies_under_it(watched: str, uri: str, covered: bool):
    assert subscriptions.covers(watched, uri) is covered


@given(st.none() | st.integers() | st.text(max_size=3) | st.lists(st.booleans(), max_size=2))
def test_a_filter_that_is_none_has_invalid_parameters(filter_: Any):
    verdict = asked(filter_)
    assert isinstance(verdict, Rejection)
    assert (verdict.status, verdict.code, verdict.id) == (400, -32602, "s")


@given(ids, st.sets(st.sampled_from(Kind)), uris)
def test_the_official_types_read_what_is_told_under_the_id_that_was_asked_with(
    id_: str | int, kinds: set[Kind], uris: list[str]
):
    first = mcp_types.SubscriptionsAcknowledgedNotification.model_validate(
        json.loads(subscriptions.acknowledged(id_, kinds, uris))
    )
    honoured = first.params.notifications
    flags = (honoured.tools_list_changed, honoured.prompts_list_changed, honoured.resources_list_changed)
    assert flags == tuple(True if kind in kinds else None for kind in Kind)
    assert honoured.resource_subscriptions == (uris or None)
    told = [json.loads(subscriptions.changed(kind, id_)) for kind in Kind]
    told.append(json.loads(subscriptions.updated("x:", id_)))
    for type_, one in zip(TOLD, told, strict=True):
        type_.model_validate(one)
    ended = json.loads(subscriptions.ended(id_))
    mcp_types.SubscriptionsListenResult.model_validate(ended["result"])
    metas = [one["params"]["_meta"] for one in told]
    for meta in (first.model_dump()["params"]["meta"], *metas, ended["result"]["_meta"]):
        found = meta["io.modelcontextprotocol/subscriptionId"]
        assert (found, type(found)) == (id_, type(id_))
    assert ended["id"] == id_


def test_an_older_agent_is_told_without_an_id():
    assert json.loads(subscriptions.changed(Kind.TOOL)) == {
        "jsonrpc": "2.0",
        "method": "notifications/tools/list_changed",
    }
    assert json.loads(subscriptions.updated("x:"))["params"] == {"uri": "x:"}
