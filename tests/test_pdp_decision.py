"""Decisions read strictly: a table of everything that looks like yes and is not one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import DecisionUnavailable
from gateway.ids import Ref
from gateway.model import Reason
from gateway.pdp.decision import (
    MAX_REMEMBERED_BYTES,
    parse_admin,
    parse_call,
    parse_explanation,
    parse_list,
)
from tests.support.fake_opa import EPOCH, admin_decision, answer, call_decision, list_decision

if TYPE_CHECKING:
    from collections.abc import Callable

SHARED: dict[str, dict[str, Any]] = {
    "allow is a word": {"allow": "true"},
    "allow is a number": {"allow": 1},
    "allow is null": {"allow": None},
    "allow is an object": {"allow": {}},
    "no allow": {"allow": ...},
    "no epoch": {"epoch": ...},
    "the epoch is null": {"epoch": None},
    "no revision": {"revision": ...},
    "the revision is true": {"revision": True},
    "the revision is a word": {"revision": "42"},
    "the revision is a fraction": {"revision": 42.0},
    "the revision is negative": {"revision": -1},
    "the revision is no number that counts": {"revision": 10**30},
    "no stale": {"stale": ...},
    "stale is a number": {"stale": 0},
    "no reasons": {"reasons": ...},
    "the reasons are an object": {"reasons": {}},
    "a reason is a word": {"reasons": ["withdrawn"]},
    "a reason without a code": {"reasons": [{"layer": "withdrawal"}]},
    "a reason without a layer": {"reasons": [{"code": "withdrawn"}]},
    "a reason with an empty code": {"reasons": [{"code": "", "layer": "custom"}]},
    "a reason whose code is a number": {"reasons": [{"code": 5, "layer": "custom"}]},
    "an obligation that nobody here knows": {"obligations": {"mask": ["card"]}},
    "the obligations are a list": {"obligations": []},
}
CALL: dict[str, dict[str, Any]] = {
    "no visible": {"visible": ...},
    "visible is a word": {"visible": "true"},
    "admitted and not visible": {"visible": False},
    "no id": {"id": ...},
    "admitted without an id": {"id": None},
    "no obligations": {"obligations": ...},
    "the id is a number": {"id": 7},
    "the id has no slash": {"id": "charge"},
    "the id has no server": {"id": "/charge"},
    "the id has no tool": {"id": "payments/"},
    "the id has a space": {"id": "payments/charge me"},
    "the id ends in a line feed": {"id": "payments/charge\n"},
    "the id's tenant is none": {"id": "_pay:ments/charge"},
    "the id is too long": {"id": "payments/" + "x" * 129},
}
LIST: dict[str, dict[str, Any]] = {
    "no ids": {"ids": ...},
    "the ids are an object": {"ids": {"payments/charge": True}},
    "the ids are null": {"ids": None},
    "an id is null": {"ids": [None]},
    "an id is not one": {"ids": ["payments/charge", "refund"]},
    "tools listed and the list refused": {"allow": False},
    "no obligations": {"obligations": ...},
}
ADMIN: dict[str, dict[str, Any]] = {
    "no roles": {"roles": ...},
    "the roles are a word": {"roles": "admin"},
    "a role is null": {"roles": [None]},
}
KINDS = ((parse_call, call_decision, CALL), (parse_list, list_decision, LIST), (parse_admin, admin_decision, ADMIN))
FAULTS = [
    pytest.param(parse, make, change, id=f"{parse.__name__}: {name}")
    for parse, make, own in KINDS
    for name, change in (SHARED | own).items()
]


@pytest.mark.parametrize(("parse", "make", "change"), FAULTS)
def test_a_decision_that_is_not_exactly_one_is_none(
    parse: Callable[[bytes], Any], make: Callable[..., dict[str, Any]], change: dict[str, Any]
):
    assert parse(answer(make())).allow is True
    with pytest.raises(DecisionUnavailable):
        parse(answer(make(**change)))


NO_DECISIONS = {
    "nothing": b"",
    "an undefined decision": b"{}",
    "a null result": b'{"result": null}',
    "a bare true": b'{"result": true}',
    "a list": b'{"result": []}',
    "the decision without its envelope": json.dumps(call_decision()).encode(),
    "garbage": b"\xff\xfe{",
    "cut JSON": answer(call_decision())[:-1],
    "two documents": answer(call_decision()) * 2,
    "bytes that are no UTF-8": b'{"result": {"allow": true, "epoch": "\xff"}}',
    "deep nesting": b'{"result":' + b"[" * 100_000,
    "an error": b'{"code": "internal_error", "message": "x"}',
}


@pytest.mark.parametrize("body", NO_DECISIONS.values(), ids=NO_DECISIONS.keys())
@pytest.mark.parametrize("parse", [parse_call, parse_list, parse_admin, parse_explanation])
def test_what_holds_no_decision_is_none(parse: Callable[[bytes], Any], body: bytes):
    with pytest.raises(DecisionUnavailable):
        parse(body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(call_decision())), json_values, min_size=1))
def test_only_a_literal_true_of_a_named_and_visible_tool_admits(changes: dict[str, Any]):
    document = call_decision(**changes)
    try:
        decision = parse_call(answer(document))
    except DecisionUnavailable:
        return
    assert decision.allow is (document["allow"] is True)
    assert not decision.allow or (decision.visible and decision.ref is not None)


def test_a_refused_call_keeps_its_reasons_with_all_that_they_say():
    reason = {"code": "withdrawn", "layer": "withdrawal", "scope": "tenant", "by": ["x", 2**70]}
    decision = parse_call(answer(call_decision(allow=False, visible=False, reasons=[reason])))
    assert not decision.allow
    assert decision.ref == Ref.of_tool("payments", "charge")
    assert decision.reasons == (Reason("withdrawn", "withdrawal", {"scope": "tenant", "by": ["x", 2**70]}),)


def test_a_call_of_something_unknown_names_no_tool():
    decision = parse_call(answer(call_decision(allow=False, visible=False, id=None)))
    assert (decision.allow, decision.visible, decision.ref) == (False, False, None)


def test_a_tool_with_slashes_and_dots_in_its_name_is_still_of_its_server():
    assert parse_call(answer(call_decision(id="payments/v1/charge.now"))).ref == Ref.of_tool(
        "payments", "v1/charge.now"
    )


def test_a_list_is_sorted_and_has_each_tool_once():
    assert parse_list(answer(list_decision(ids=["b/x", "a/y", "b/x"]))).ids == ("a/y", "b/x")


def test_a_list_that_was_read_before_is_read_alike_and_refused_alike():
    written = answer(list_decision(ids=["b/x", "a/y"]))
    assert parse_list(written).ids is parse_list(written).ids
    for _ in range(2):
        with pytest.raises(DecisionUnavailable):
            parse_list(answer(list_decision(ids=["b/x", "a/y"], allow=False)))
        with pytest.raises(DecisionUnavailable):
            parse_list(answer(list_decision(ids=["b/x", "no id"])))
        with pytest.raises(DecisionUnavailable):
            parse_list(written.replace(b"b/x", b"b/\xff"))


def test_a_list_longer_than_what_is_remembered_is_read_all_the_same():
    ids = [f"server-{n:05}/tool" for n in range(MAX_REMEMBERED_BYTES // 10)]
    assert parse_list(answer(list_decision(ids=ids))).ids == tuple(ids)


def test_an_admin_decision_says_by_which_roles():
    decision = parse_admin(answer(admin_decision(roles=["admin", "mcp_server_admin"])))
    assert (decision.allow, decision.roles, decision.epoch, decision.revision) == (
        True,
        ("admin", "mcp_server_admin"),
        EPOCH,
        42,
    )


def test_a_member_that_a_newer_policy_adds_is_ignored():
    assert parse_call(answer(call_decision(matched_rule="x"))).allow
