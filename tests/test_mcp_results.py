"""What the gateway writes: its own results as the official SDK reads them, and relayed ones as they were sent."""

from __future__ import annotations

import json

import mcp_types as types
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_types.methods import validate_server_result

from gateway.mcp import answers, results
from gateway.mcp.agent import Agent
from gateway.mcp.answers import ServerRequest, Unusable, parse
from gateway.mcp.definitions import fragment, joined
from gateway.mcp.eras import Era
from gateway.mcp.sections import TOOLS

SERVER_INFO = "io.modelcontextprotocol/serverInfo"
BOTH = pytest.mark.parametrize("era", list(Era))


def answer(result: str):
    return parse(b'{"jsonrpc":"2.0","id":7,"result":%b}' % result.encode(), 7)


def passed_on(id_: str | int, era: Era, sent, method: str = "tools/call") -> bytes:
    return results.relayed(id_, Agent(era), method, sent)[0]


def relayed(result: str, era: Era = Era.MODERN, id_: str | int = 1):
    return json.loads(passed_on(id_, era, answer(result)))["result"]


def test_the_official_sdk_reads_every_result_of_our_own():
    tools = fragment(TOOLS, b'{"name":"a","inputSchema":{"type":"object"}}', "a")
    written = [
        ("initialize", "2025-06-18", results.initialize(1, "2025-06-18")),
        ("ping", "2025-06-18", results.empty(1)),
        ("server/discover", "2026-07-28", results.discover(1)),
        ("tools/list", "2026-07-28", b"".join(results.listed(1, Era.MODERN, "tools/list", tools))),
        ("tools/list", "2025-11-25", b"".join(results.listed(1, Era.LEGACY, "tools/list", tools))),
        ("tools/list", "2026-07-28", b"".join(results.listed(1, Era.MODERN, "tools/list", joined([])))),
        ("tools/call", "2026-07-28", results.tool_error(1, Era.MODERN, "no")),
        ("tools/call", "2025-03-26", results.tool_error(1, Era.LEGACY, "no")),
    ]
    for method, version, body in written:
        validate_server_result(method, version, json.loads(body)["result"])


def test_a_modern_list_may_be_kept_by_nobody():
    for body in (b"".join(results.listed(1, Era.MODERN, "tools/list", joined([]))), results.discover(1)):
        result = json.loads(body)["result"]
        assert (result["resultType"], result["ttlMs"], result["cacheScope"]) == ("complete", 0, "private")
        assert result["_meta"][SERVER_INFO]["name"] == "portcullis"


def test_the_agents_id_comes_back_in_its_own_type():
    for id_ in ("1", 1, 2**70, 'a"b', "\u2028"):
        assert json.loads(results.success(id_, b"{}"))["id"] == id_
        assert json.loads(results.error(id_, -32602, "x"))["id"] == id_
        assert json.loads(passed_on(id_, Era.LEGACY, answer("{}")))["id"] == id_


def test_an_error_has_data_only_where_there_are_some():
    assert json.loads(results.error(None, -32700, "x")) == {
        "jsonrpc": "2.0",
        "id": None,
        "error": {"code": -32700, "message": "x"},
    }
    assert json.loads(results.error(1, -32022, "x", {"requested": "y"}))["error"]["data"] == {"requested": "y"}


AS_SENT = [
    '{"z" : 1.10,\n "a":1e2 }',
    "[1.0, 1E5, -0.0, 0.1000000000000000055]",
    f'{{"amount":{2**70},"negative":{-(2**70)}}}',
    '{"name":1,"Name":2,"NAME":3,"nam\\u0065 ":4}',
    '"\\u2028 \u2028 \\/ \\u00e9 \\ud83d\\ude00 \\u0000"',
    '{"a":{"b":{"c":[[[]]]}},"a ":null}',
    '{"name":"twice","name":"as sent"}',
]


@BOTH
@pytest.mark.parametrize("value", AS_SENT)
def test_what_lies_within_a_member_arrives_byte_for_byte(value, era):
    body = passed_on(1, era, answer(f'{{"content": [{value}], "vendor": {value}, "isError": false}}'))
    assert b'"content":[%b],' % value.encode() in body
    assert b'"vendor":%b,' % value.encode() in body


@BOTH
def test_unknown_members_of_a_result_arrive(era):
    assert (
        relayed('{"content":[],"vendor":{"x":1},"com.example":null}', era).items()
        >= {
            "content": [],
            "vendor": {"x": 1},
            "com.example": None,
        }.items()
    )


def test_a_modern_agent_gets_the_members_that_its_revision_requires():
    result = relayed('{"content":[]}')
    assert result["resultType"] == "complete"
    assert result["_meta"] == {SERVER_INFO: results.SERVER_INFO}


def test_an_older_agent_gets_nothing_that_its_revision_does_not_know():
    meta = '{"io.modelcontextprotocol/serverInfo":{"name":"x"},"com.example/a":1.10}'
    sent = '{"content":[],"resultType":"complete","ttlMs":5,"cacheScope":"public","_meta":' + meta + "}"
    assert relayed(sent, Era.LEGACY) == {"content": [], "_meta": {"com.example/a": 1.10}}
    assert "_meta" not in relayed('{"content":[],"_meta":{"io.modelcontextprotocol/x":1}}', Era.LEGACY)


def test_reserved_meta_keys_are_ours_and_foreign_ones_arrive_as_sent():
    meta = '{"io.modelcontextprotocol/serverInfo":{"name":"x"},"io.modelcontextprotocol/y":1,"com.example/a":1.10}'
    body = passed_on(1, Era.MODERN, answer('{"content":[],"_meta":' + meta + "}"))
    assert json.loads(body)["result"]["_meta"] == {SERVER_INFO: results.SERVER_INFO, "com.example/a": 1.1}
    assert b'"com.example/a":1.10' in body


@pytest.mark.parametrize("meta", ["null", "5", "[]", '"x"'])
@BOTH
def test_a_meta_that_is_no_object_is_dropped(meta, era):
    expected = {SERVER_INFO: results.SERVER_INFO} if era is Era.MODERN else None
    assert relayed('{"content":[],"_meta":' + meta + "}", era).get("_meta") == expected


@pytest.mark.parametrize(
    ("value", "legal"), [('{"a":1}', True), ("[1]", False), ('"x"', False), ("1", False), ("null", False)]
)
def test_structured_content_that_is_no_object_reaches_modern_agents_only(value, legal):
    sent = '{"content":[],"structuredContent":' + value + "}"
    assert ("structuredContent" in relayed(sent, Era.LEGACY)) is legal
    assert relayed(sent, Era.MODERN)["structuredContent"] == json.loads(value)


def test_a_servers_error_is_passed_on_with_its_data_as_sent():
    sent = parse(b'{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"bad","data":{"x": 1.10}}}', 7)
    body = passed_on("a", Era.MODERN, sent)
    assert body == b'{"jsonrpc":"2.0","id":"a","error":{"code":-32602,"message":"bad","data":{"x": 1.10}}}'


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (-32002, -32602),
        (-32042, -32603),
        (-32020, -32603),
        (-32022, -32603),
        (-32601, -32601),
        (7, 7),
    ],
)
def test_codes_that_would_speak_of_the_gateway_itself_are_translated(theirs, ours):
    sent = parse(b'{"jsonrpc":"2.0","id":7,"error":{"code":%d,"message":"m","data":{"supported":[]}}}' % theirs, 7)
    fault = json.loads(passed_on(1, Era.MODERN, sent))["error"]
    assert fault["code"] == ours == results.relayed_code(theirs, Agent(Era.MODERN))
    assert ("data" in fault) is (theirs == ours)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"jsonrpc":"2.0"}',
        b'{"jsonrpc":"2.0","id":7}',
        b'{"jsonrpc":"1.0","id":7,"result":{}}',
        b'{"jsonrpc":"2.0","id":7,"result":[]}',
        b'{"jsonrpc":"2.0","id":7,"result":null}',
        b'{"jsonrpc":"2.0","id":8,"result":{}}',
        b'{"jsonrpc":"2.0","id":"7","result":{}}',
        b'{"jsonrpc":"2.0","id":7.0,"result":{}}',
        b'{"jsonrpc":"2.0","id":null,"result":{}}',
        b'{"jsonrpc":"2.0","result":{}}',
        b'{"jsonrpc":"2.0","id":7,"error":"bad"}',
        b'{"jsonrpc":"2.0","id":7,"error":{"code":"x","message":"bad"}}',
        b'{"jsonrpc":"2.0","id":7,"error":{"code":1.5,"message":"bad"}}',
        b'{"jsonrpc":"2.0","id":7,"error":{"message":"bad"}}',
        b'{"jsonrpc":"2.0","id":7,"result":{"a":"\xff"}}',
        b'{"jsonrpc":"2.0","id":7,"result":{"a":NaN}}',
        b'{"jsonrpc":"2.0","id":7,"result":{"a":"\\ud800"}}',
        b'{"jsonrpc":"2.0","id":7,"result":{"a":1}} {}',
        b'{"jsonrpc":"2.0","id":7,"result":{"a":' + b"[" * 100_000,
        b'[{"jsonrpc":"2.0","id":7,"result":{}}]',
        b"<html>",
    ],
)
def test_what_is_no_answer_to_this_request_is_unusable(body):
    with pytest.raises(Unusable):
        parse(body, 7)


def test_what_a_server_asks_or_tells_on_a_stream_is_told_from_an_answer():
    asked = b'{"jsonrpc":"2.0","id":"x","method":"ping"}'
    told = b'{"jsonrpc":"2.0","method":"notifications/message"}'
    for id_ in (7, None):
        assert parse(asked, id_) == ServerRequest("ping", b'"x"', asked)
        assert parse(told, id_) == ServerRequest("notifications/message", None, told)


def test_where_nothing_was_asked_nothing_is_answered():
    with pytest.raises(answers.Unusable, match="another request"):
        parse(b'{"jsonrpc":"2.0","id":7,"result":{}}', None)


def test_a_server_may_say_in_two_ways_that_it_failed():
    assert answer('{"content":[],"isError":true}').is_error
    assert answers.Answer(error=answers.RpcError(-1, "x")).is_error
    assert not answer('{"content":[],"isError":false}').is_error
    assert not answer('{"content":[]}').is_error


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])),
        st.integers() | st.text(st.characters(exclude_categories=["Cs"])) | st.none(),
    )
)
def test_any_result_reaches_a_modern_agent_whole(members):
    expected = {"resultType": "complete", **members, "_meta": {SERVER_INFO: results.SERVER_INFO}}
    assert relayed(json.dumps(members)) == expected


def test_the_result_of_a_relayed_call_is_one_the_official_sdk_takes():
    text = '{"content":[{"type":"text","text":"hi","vendor":1}],"structuredContent":{"a":1},"isError":false}'
    assert isinstance(types.CallToolResult.model_validate(relayed(text)), types.CallToolResult)
    for version, era in (("2026-07-28", Era.MODERN), ("2025-11-25", Era.LEGACY), ("2025-03-26", Era.LEGACY)):
        validate_server_result("tools/call", version, relayed(text, era))
