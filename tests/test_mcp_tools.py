"""Definitions of tools: what may be offered, and how little is changed of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from mcp.shared.inbound import (
    find_invalid_x_mcp_header,
    mcp_param_headers,
    validate_mcp_param_headers,
    x_mcp_header_map,
)
from multidict import CIMultiDict

from gateway.mcp.answers import Unusable, parse
from gateway.mcp.definitions import fragment, page, usable
from gateway.mcp.params import annotation_fault, disagreement, outgoing, param_headers
from gateway.mcp.sections import TOOLS


def definition(name="charge", **members):
    return json.dumps({"name": name, "inputSchema": {"type": "object"}, **members}).encode()


def names(*definitions):
    tools, dropped = usable(TOOLS, definitions)
    return [tool.name for tool in tools], dropped


def test_tools_are_offered_in_the_order_of_their_names():
    assert names(definition("b"), definition("a"), definition("c")) == (["a", "b", "c"], 0)


@pytest.mark.parametrize("name", ["a", "A-b_c.d/e", "x" * 128])
def test_a_legal_name_is_offered(name):
    assert names(definition(name)) == ([name], 0)


@pytest.mark.parametrize(
    "name", ["", "x" * 129, "re fund", "refund\n", "refund\u200b", "\uff52efund", "réfund", "a:b", "a*", None, 5, ["a"]]
)
def test_a_name_that_could_be_taken_for_another_is_not(name):
    assert names(definition(name), definition("ok")) == (["ok"], 1)


@pytest.mark.parametrize(
    "text",
    [
        b"5",
        b"null",
        b"[]",
        b"{}",
        b'{"name":"a"}',
        b'{"name":"a","inputSchema":null}',
        b'{"name":"a","inputSchema":true}',
        b'{"name":"a","inputSchema":' + b"[" * 2000 + b"]" * 2000 + b"}",
        definition("a", execution={"taskSupport": "required"}),
        definition("a", inputSchema={"properties": {"x": {"type": "number", "x-mcp-header": "X"}}}),
    ],
)
def test_a_definition_that_no_client_could_use_is_left_out_and_counted(text):
    assert names(text, definition("ok")) == (["ok"], 1)


def test_a_name_that_is_there_twice_is_offered_by_neither():
    assert names(definition("a"), definition("b"), definition("a", title="other")) == (["b"], 2)
    assert names(definition("a"), definition("a"), definition("a")) == ([], 3)


def test_optional_tasks_do_not_hide_a_tool():
    assert names(definition("a", execution={"taskSupport": "optional"})) == (["a"], 0)


FAITHFUL = (
    '{ "description" : "tabs\\tand \\u2028 and \u2028", "name" : "charge", "inputSchema" : {"type":"object", '
    '"properties": {"x": {"type": "integer", "maximum": 1180591620717411303424, "multipleOf": 1.10}}}, '
    '"vendor" : {"name":"inner","name":"twice"}, "Name" : "lookalike" }'
)


def test_only_the_name_of_a_definition_changes_and_every_value_arrives_as_sent():
    encoded = fragment(TOOLS, FAITHFUL.encode(), "payments__charge").modern.decode()
    assert json.loads(encoded) == {**json.loads(FAITHFUL), "name": "payments__charge"}
    for value in (
        '"tabs\\tand \\u2028 and \u2028"',
        '"multipleOf": 1.10',
        str(2**70),
        '{"name":"inner","name":"twice"}',
    ):
        assert value in encoded
    assert list(json.loads(encoded)) == list(json.loads(FAITHFUL))


def test_a_name_given_twice_in_one_definition_is_replaced_in_the_one_that_is_left():
    twice = b'{"name":"a","inputSchema":{"type":"object"},"name":"charge"}'
    assert fragment(TOOLS, twice, "x").modern == b'{"name":"x","inputSchema":{"type":"object"}}'


@pytest.mark.parametrize(
    ("schema", "legal"),
    [
        ({"type": "object"}, True),
        ({"type": "array"}, False),
        ({}, False),
        (True, False),
        ({"anyOf": []}, False),
        ([], False),
    ],
)
def test_an_output_schema_that_older_revisions_do_not_allow_reaches_modern_agents_only(schema, legal):
    encoded = fragment(TOOLS, definition(outputSchema=schema, title="t"), "charge")
    assert json.loads(encoded.modern)["outputSchema"] == schema
    assert ("outputSchema" in json.loads(encoded.legacy)) is legal
    assert json.loads(encoded.legacy)["title"] == "t"


def listed(result: str):
    return page(TOOLS, parse(b'{"jsonrpc":"2.0","id":1,"result":%b}' % result.encode(), 1))


def test_a_page_has_definitions_and_perhaps_a_cursor():
    assert listed('{"tools":[{ "name":"a" },5]}').definitions == (b'{ "name":"a" }', b"5")
    assert listed('{"tools":[]}').next_cursor is None
    assert listed('{"tools":[],"nextCursor":null}').next_cursor is None
    assert listed('{"tools":[],"nextCursor":""}').next_cursor == ""


@pytest.mark.parametrize("result", ["{}", '{"tools":null}', '{"tools":{}}', '{"tools":[],"nextCursor":5}'])
def test_a_list_of_another_shape_is_unusable(result):
    with pytest.raises(Unusable):
        listed(result)


NAMES = st.sampled_from(["a", "b", "X-Y"])
ANNOTATED = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["string", "integer", "boolean", "number", "object", ["string"], 5]),
        "x-mcp-header": st.sampled_from(["A", "a", "Trace", "no token", "", 5, None]),
        "default": st.just({"x-mcp-header": "Data"}),
        "$ref": st.just("#"),
    },
)
SCHEMAS = st.recursive(
    ANNOTATED | st.booleans() | st.none(),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": st.just("object"),
            "properties": st.dictionaries(NAMES, inner, max_size=3),
            "items": inner,
            "anyOf": st.lists(inner, max_size=2),
            "$defs": st.dictionaries(NAMES, inner, max_size=2),
            "not": inner,
        },
    ),
    max_leaves=6,
)
ARGUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


@given(SCHEMAS, st.dictionaries(NAMES, ARGUMENTS, max_size=3))
def test_annotations_are_judged_and_followed_as_the_official_sdk_does(schema, arguments):
    fault = annotation_fault(schema)
    assert (fault is None) == (find_invalid_x_mcp_header(schema) is None)
    if fault is None:
        ours = dict(outgoing(param_headers(schema), arguments))
        assert ours == mcp_param_headers(x_mcp_header_map(schema), arguments)


def test_an_argument_goes_into_the_header_that_its_schema_names():
    schema = {"properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    wanted = param_headers(schema)
    assert list(outgoing(wanted, {"region": "eu"})) == [("Mcp-Param-Region", "eu")]
    assert list(outgoing(wanted, {"region": "Köln"})) == [("Mcp-Param-Region", "=?base64?S8O2bG4=?=")]
    assert list(outgoing(wanted, {"region": None})) == list(outgoing(wanted, {})) == []


ALTERED = st.sampled_from(["", "x", "1", "true", "1.0", "=?base64?eA==?=", "=?base64?eA?=", "é"])


@given(SCHEMAS, st.dictionaries(NAMES, ARGUMENTS, max_size=3), st.dictionaries(st.sampled_from(["A", "a"]), ALTERED))
def test_headers_agree_with_arguments_where_the_official_sdk_says_so(schema, arguments, altered):
    assume(find_invalid_x_mcp_header(schema) is None)
    wanted = param_headers(schema)
    sent = CIMultiDict(outgoing(wanted, arguments))
    assert disagreement(wanted, arguments, sent) is None
    for name, value in altered.items():
        sent[f"Mcp-Param-{name}"] = value
    verdict = validate_mcp_param_headers(schema, arguments, sent)
    assert (disagreement(wanted, arguments, sent) is None) == (verdict is None)


@pytest.mark.parametrize(
    ("arguments", "line", "agrees"),
    [
        ({"n": 42}, "42", True),
        ({"n": 42}, "42.0", True),
        ({"n": 42}, "43", False),
        ({"n": 42}, "4_2", False),
        ({"n": 2**70}, str(2**70), True),
        ({"n": 2**70}, str(2**70 + 1), False),
        ({"n": True}, "true", True),
        ({"n": True}, "1", False),
        ({"n": "é"}, "=?base64?w6k=?=", True),
        ({"n": "é"}, "=?base64?w6k?=", False),
        ({"n": "x"}, None, False),
        ({"n": None}, None, True),
        ({"n": None}, "x", False),
        ({}, "", False),
        ({"n": []}, None, True),
    ],
)
def test_an_argument_is_repeated_where_it_is_there_and_nowhere_else(arguments, line, agrees):
    wanted = param_headers({"properties": {"n": {"type": "string", "x-mcp-header": "N"}}})
    lines = CIMultiDict({} if line is None else {"mcp-param-n": line})
    assert (disagreement(wanted, arguments, lines) is None) is agrees


def test_a_header_that_comes_twice_agrees_with_nothing():
    wanted = param_headers({"properties": {"n": {"type": "string", "x-mcp-header": "N"}}})
    lines = CIMultiDict([("Mcp-Param-N", "x"), ("mcp-param-n", "x")])
    assert disagreement(wanted, {"n": "x"}, lines)
