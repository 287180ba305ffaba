"""What is one JSON-RPC message, and what only looks like one to somebody."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mcp.envelope import Notification, Request, Response, parse
from gateway.mcp.errors import INVALID_REQUEST, PARSE_ERROR, Rejection

CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "charge", "arguments": {"amount": 1}}}


def body(**changes):
    return json.dumps({**CALL, **changes}).encode()


def test_a_request_keeps_the_type_of_its_id():
    assert parse(body(id="1")).id == "1"
    assert parse(body(id=1)).id == 1
    assert parse(body(id=2**70)).id == 2**70


def test_a_request_without_parameters_has_empty_ones():
    expected = Request(1, "tools/list", {})
    assert parse(b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}') == expected
    assert parse(b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":null}') == expected
    assert parse(b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}') == expected


def test_notifications_and_responses_are_told_from_requests():
    assert parse(b'{"jsonrpc":"2.0","method":"notifications/initialized"}') == Notification("notifications/initialized")
    assert parse(b'{"jsonrpc":"2.0","id":3,"result":{}}') == Response(3, {"result": {}})
    assert parse(b'{"jsonrpc":"2.0","id":3,"error":{"code":1,"message":""}}') == Response(
        3, {"error": {"code": 1, "message": ""}}
    )


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "[{}]",
        json.dumps([CALL]),
        '"tools/list"',
        "1",
        "null",
        "{}",
        '{"jsonrpc":"2.0"}',
        '{"jsonrpc":"2.0","id":1}',
        '{"jsonrpc":"1.0","id":1,"method":"ping"}',
        '{"jsonrpc":2.0,"id":1,"method":"ping"}',
        '{"id":1,"method":"ping"}',
        '{"jsonrpc":"2.0","id":null,"method":"ping"}',
        '{"jsonrpc":"2.0","id":1.0,"method":"ping"}',
        '{"jsonrpc":"2.0","id":1.5,"method":"ping"}',
        '{"jsonrpc":"2.0","id":true,"method":"ping"}',
        '{"jsonrpc":"2.0","id":[1],"method":"ping"}',
        '{"jsonrpc":"2.0","id":{},"method":"ping"}',
        '{"jsonrpc":"2.0","id":1,"method":1}',
        '{"jsonrpc":"2.0","id":1,"method":null}',
        '{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}',
        '{"jsonrpc":"2.0","id":1,"method":"ping","params":"x"}',
        '{"jsonrpc":"2.0","id":1,"method":"ping","params":0}',
        '{"jsonrpc":"2.0","id":1,"method":"ping","params":false}',
        '{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}',
        '{"jsonrpc":"2.0","id":1,"result":{},"error":{}}',
        '{"jsonrpc":"2.0","id":null,"result":{}}',
        '{"jsonrpc":"2.0","error":{"code":1,"message":""}}',
    ],
)
def test_what_is_no_single_message_is_an_invalid_request(text):
    rejection = parse(text.encode())
    assert isinstance(rejection, Rejection)
    assert (rejection.status, rejection.code) == (400, INVALID_REQUEST)


@pytest.mark.parametrize("text", [b"", b"{", b'{"jsonrpc":"2.0","id":1,"id":1,"method":"ping"}', b"\xff"])
def test_what_is_no_json_is_a_parse_error_without_an_id(text):
    rejection = parse(text)
    assert (rejection.status, rejection.code, rejection.id) == (400, PARSE_ERROR, None)


LOOKALIKES = {
    "": "Method METHOD method\0 \0method \uff4dethod Id ID Jsonrpc JSONRPC Params param\u017f PARAMS\0 Result error\0",
    "params": "Name NAME name\0 \uff4eame nam\0e Arguments argument\u017f _Meta _META tas\u212a Cursor requeststate",
    "params._meta": "IO.modelcontextprotocol/protocolVersion io.modelcontextprotocol/clientcapabilities TraceParent "
    "ProgressToken progresstoken\0",
}


@pytest.mark.parametrize(
    ("where", "name"), [(where, name) for where in LOOKALIKES for name in LOOKALIKES[where].split()]
)
@pytest.mark.parametrize("beside", [True, False], ids=["beside the real one", "alone"])
def test_a_member_that_a_lenient_reader_takes_for_another_is_refused(where, name, beside):
    message = json.loads(json.dumps(CALL))
    message["params"]["_meta"] = {"progressToken": 1}
    holder = message
    for step in filter(None, where.split(".")):
        holder = holder[step]
    real = next((key for key in holder if key.casefold() == name.replace("\0", "").casefold()), None)
    value = holder[real] if real else "x"
    if not beside and real:
        del holder[real]
    holder[name] = value
    rejection = parse(json.dumps(message).encode())
    assert isinstance(rejection, Rejection)
    assert (rejection.status, rejection.code) == (400, INVALID_REQUEST)


def test_names_within_the_arguments_are_the_tools_business():
    arguments = {"Name": 1, "name": 2, "NAME\0": 3, "_Meta": 4}
    message = parse(body(params={"name": "charge", "arguments": arguments}))
    assert message.params["arguments"] == arguments


def test_foreign_members_and_meta_keys_pass():
    message = parse(body(extra=1, params={"name": "charge", "vendor": 2, "_meta": {"com.example/Name": 3}}))
    assert message.params == {"name": "charge", "vendor": 2, "_meta": {"com.example/Name": 3}}


def test_a_refused_request_is_answered_under_its_own_id_where_it_has_one():
    assert parse(body(id="a", method=1)).id == "a"
    assert parse(body(id=None)).id is None
    assert parse(body(id=True)).id is None


@given(st.text(min_size=1), st.sampled_from(["name", "arguments", "_meta"]))
def test_no_name_that_folds_to_a_known_one_passes(noise, known):
    name = "".join(character + "\0" * (index % 2) for index, character in enumerate(known.upper()))
    assert isinstance(parse(body(params={name: noise})), Rejection)
