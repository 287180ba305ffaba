"""The question as policy reads it: what is in it, what never is, and how large it may get."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import DecisionUnavailable
from gateway.ids import Kind, Mode
from gateway.model import ANONYMOUS, CredentialKind, CredentialRef, Grant, Principal, Question, RequestInfo, View
from gateway.pdp.question import encode, lane

JO = Principal(
    subject="user:jo",
    kind=CredentialKind.JWT,
    tenant="tenant:a",
    issuer="https://idp",
    groups=("data",),
    scopes=("mcp:tools",),
    credential=CredentialRef("c_17", expires_at=1790000000),
)
REQUEST = RequestInfo("0190", "10.0.0.1", 1790000000)


def document(question: Question, *, custom: bool = True, limit: int = 65_536) -> Any:
    return json.loads(encode(question, Mode.FRONT_DOOR, custom=custom, max_arguments_bytes=limit))["input"]


def call(arguments: Any = None, **changes: Any) -> Question:
    return Question("tools/call", JO, REQUEST, name="charge", arguments=arguments, **changes)


def test_a_call_is_the_documented_envelope():
    assert document(call({"amount": 10}, client={"name": "agent"})) == {
        "v": 2,
        "action": "tools/call",
        "kind": "tool",
        "mode": "front_door",
        "view": "flat",
        "principal": {
            "subject": "user:jo",
            "kind": "jwt",
            "issuer": "https://idp",
            "tenant": "tenant:a",
            "groups": ["data"],
            "scopes": ["mcp:tools"],
            "credential": {"id": "c_17", "role": None, "scope": None, "expires_at": 1790000000},
            "acting_for": None,
        },
        "target": {"name": "charge", "server": None, "arguments": {"amount": 10}},
        "request": {"id": "0190", "ip": "10.0.0.1", "time": 1790000000},
        "untrusted": {"client": {"name": "agent"}},
    }


def test_an_anonymous_list_of_one_server_says_so():
    asked = document(Question("tools/list", ANONYMOUS, REQUEST, view=View.SERVER, server="payments"))
    assert asked["view"] == "server"
    assert asked["target"] == {"name": None, "server": "payments"}
    assert asked["principal"] == {
        "subject": "anonymous",
        "kind": "anonymous",
        "issuer": None,
        "tenant": None,
        "groups": [],
        "scopes": [],
        "credential": None,
        "acting_for": None,
    }


@pytest.mark.parametrize("tenant", [None, "tenant:b"])
def test_an_admin_action_names_the_tenant_that_it_is_about(tenant: str | None):
    question = Question("mcp_servers:lifecycle", JO, REQUEST, server="payments", name="refund", tenant=tenant)
    assert document(question)["target"] == {"name": "refund", "server": "payments", "tenant": tenant, "grants": None}


def test_an_admin_action_says_what_it_hands_out():
    question = Question("roles:write", JO, REQUEST, tenant="tenant:b", grants=Grant("viewer", "tenant:tenant:b"))
    assert document(question)["target"]["grants"] == {"role": "viewer", "scope": "tenant:tenant:b"}


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("tools/list", "tool"),
        ("prompts/get", "prompt"),
        ("resources/templates/list", "resource"),
        ("resources/subscribe", "resource"),
        ("keys:write", None),
    ],
)
def test_every_action_but_a_completion_has_a_kind(action: str, kind: str | None):
    assert document(Question(action, JO, REQUEST, name="x"))["kind"] == kind


def test_what_is_completed_is_said_by_whoever_asks():
    assert document(Question("completion/complete", JO, REQUEST, name="x", kind=Kind.PROMPT))["kind"] == "prompt"


def test_a_read_names_the_templates_that_the_uri_matches():
    read = Question("resources/read", JO, REQUEST, name="file:///a", templates=("file:///{name}",))
    assert document(read)["target"]["templates"] == ["file:///{name}"]


def test_a_uri_that_matches_more_templates_than_are_told_is_not_asked_about():
    templates = tuple(f"file:///{{a{number}}}" for number in range(101))
    with pytest.raises(DecisionUnavailable):
        document(Question("resources/read", JO, REQUEST, name="file:///a", templates=templates))


def test_what_only_custom_policy_reads_is_left_out_where_there_is_none():
    asked = document(call({"card": "4111"}, client={"name": "agent"}), custom=False)
    assert asked["target"] == {"name": "charge", "server": None}
    assert asked["request"] == {"time": 1790000000}
    assert asked["principal"]["credential"] == {"id": "c_17", "role": None, "scope": None}
    assert not {"scopes"} & asked["principal"].keys()
    assert "untrusted" not in asked


def test_a_call_without_arguments_has_an_empty_object_for_custom_policy():
    assert document(call(None))["target"]["arguments"] == {}


@pytest.mark.parametrize("arguments", [[], "x", 5, True])
def test_arguments_that_are_no_object_are_not_asked_about(arguments: Any):
    with pytest.raises(DecisionUnavailable):
        document(call(arguments))


@pytest.mark.parametrize(("size", "omitted"), [(100, False), (101, True)])
def test_arguments_above_the_limit_are_left_out_and_that_is_said(size: int, omitted: bool):
    target = document(call({"x": "é" * ((size - 8) // 2) + "y" * ((size - 8) % 2)}), limit=100)["target"]
    assert target.get("arguments_omitted", False) is omitted
    assert ("arguments" in target) is not omitted


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(10**40), max_value=10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), json_values))
def test_arguments_arrive_exactly(arguments: dict[str, Any]):
    assert document(call(arguments))["target"]["arguments"] == arguments


@pytest.mark.parametrize("integer", [2**63, 2**64, -(2**63) - 1, 10**400])
def test_integers_of_any_size_arrive_exactly(integer: int):
    assert document(call({"n": integer, "none": None}))["target"]["arguments"] == {"n": integer, "none": None}


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), "\ud800", object()])
def test_what_json_cannot_say_is_not_asked_about(value: Any):
    with pytest.raises(DecisionUnavailable):
        document(call({"deep": [{"value": value}]}))


def test_a_lone_surrogate_in_a_name_is_not_asked_about():
    with pytest.raises(DecisionUnavailable):
        document(Question("tools/call", JO, REQUEST, name="\ud800"))


def test_no_more_than_a_hundred_groups_are_told():
    many = Principal("user:jo", CredentialKind.JWT, groups=tuple(map(str, range(150))))
    assert document(Question("tools/list", many, REQUEST))["principal"]["groups"] == list(map(str, range(100)))


def test_an_endless_uri_is_cut_to_one_that_no_resource_can_have():
    name = document(Question("resources/read", JO, REQUEST, name="x" * 1_000_000))["target"]["name"]
    assert name == "x" * 2_048 + "…"


def test_an_endless_name_is_cut_to_one_that_no_tool_can_have():
    name = document(Question("tools/call", JO, REQUEST, name="x" * 1_000_000))["target"]["name"]
    assert name == "x" * 256 + "…"


def test_what_an_agent_says_of_itself_stays_small_and_apart_from_who_it_is():
    claims = {"name": "n" * 1_000, "roles": ["admin"], "tenant": {"id": "tenant:b"}, "version": "1", "n" * 200: "x"}
    asked = document(call(client=claims | {f"k{n}": "v" for n in range(50)}))
    client = asked["untrusted"]["client"]
    assert client["name"] == "n" * 128
    assert client["version"] == "1"
    assert len(client) == 8
    assert "roles" not in client
    assert "tenant" not in client
    assert asked["principal"]["tenant"] == "tenant:a"


def test_a_question_takes_the_turn_of_its_tenant_else_of_its_subject_else_of_its_address():
    key = Principal("user:root", CredentialKind.API_KEY, credential=CredentialRef("c_1"))
    asked = [lane(Question("tools/list", who, REQUEST)) for who in (JO, key, ANONYMOUS)]
    assert asked == ["tenant tenant:a", "  user:root", "ip 10.0.0.1"]
