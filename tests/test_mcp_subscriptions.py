"""Subscriptions of 2026-07-28 as messages: what is asked for, what of it is honoured, and how it is told."""

from __future__ import annotations

import json
from typing import Any

import mcp_types
from hypothesis import given
from hypothesis import strategies as st

from gateway.mcp import subscriptions
from gateway.mcp.envelope import Request
from gateway.mcp.errors import Rejection

ids = st.text(st.characters(codec="utf-8"), max_size=10) | st.integers(-(2**53), 2**53)
members = st.dictionaries(st.text(max_size=10), st.booleans() | st.integers() | st.text(max_size=3), max_size=4)


def asked(notifications: Any) -> dict[str, bool] | Rejection:
    return subscriptions.honoured(Request("s", "subscriptions/listen", {"notifications": notifications}))


@given(members, st.booleans() | st.none())
def test_of_any_filter_what_is_served_and_wanted_is_honoured_and_nothing_else(
    more: dict[str, Any], wanted: bool | None
):
    more.pop("toolsListChanged", None)
    filter_ = more if wanted is None else more | {"toolsListChanged": wanted}
    assert asked(filter_) == ({"toolsListChanged": True} if wanted else {})


@given(st.none() | st.integers() | st.text(max_size=3) | st.lists(st.booleans(), max_size=2))
def test_a_filter_that_is_none_has_invalid_parameters(filter_: Any):
    verdict = asked(filter_)
    assert isinstance(verdict, Rejection)
    assert (verdict.status, verdict.code, verdict.id) == (400, -32602, "s")


@given(ids, st.booleans())
def test_the_official_types_read_what_is_told_under_the_id_that_was_asked_with(id_: str | int, wanted: bool):
    filter_ = {"toolsListChanged": True} if wanted else {}
    first = mcp_types.SubscriptionsAcknowledgedNotification.model_validate(
        json.loads(subscriptions.acknowledged(id_, filter_))
    )
    assert first.params.notifications.tools_list_changed is (True if wanted else None)
    changed = json.loads(subscriptions.changed(subscriptions.TOOLS_CHANGED, id_))
    mcp_types.ToolListChangedNotification.model_validate(changed)
    ended = json.loads(subscriptions.ended(id_))
    mcp_types.SubscriptionsListenResult.model_validate(ended["result"])
    for meta in (first.model_dump()["params"]["meta"], changed["params"]["_meta"], ended["result"]["_meta"]):
        found = meta["io.modelcontextprotocol/subscriptionId"]
        assert (found, type(found)) == (id_, type(id_))
    assert ended["id"] == id_


def test_an_older_agent_is_told_without_an_id():
    assert json.loads(subscriptions.changed(subscriptions.TOOLS_CHANGED)) == {
        "jsonrpc": "2.0",
        "method": "notifications/tools/list_changed",
    }
