"""What bad MCP bodies get: one answer for each kind, in every revision, before anybody is asked or reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.agents import EVERY_VERSION, LEGACY_VERSIONS, ask
from tests.support.gateway import MODERN

if TYPE_CHECKING:
    from tests.conftest import World
    from tests.support.gateway import Reply

PARSE_ERROR, INVALID_REQUEST, INVALID_PARAMS, HEADER_MISMATCH = -32700, -32600, -32602, -32020


async def posted(world: World, body: bytes, **headers: str) -> Reply:
    """Post bytes as tenant:b, and hold that no server heard of it."""
    before = len(world.backend.received)
    reply = await world.gateway.http("POST", "/mcp", body, Authorization=f"Bearer {world.token('tenant:b')}", **headers)
    assert len(world.backend.received) == before
    return reply


def code(reply: Reply) -> int:
    return int(reply.json["error"]["code"])


def call(inside: str, name: str = '"name":"charge"') -> bytes:
    return f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{name},"arguments":{inside}}}}}'.encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list"} {}',
        b"{'jsonrpc':'2.0','id':1,'method':'tools/list'}",
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list",}',
        b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"tools/list"}',
        '{"jsonrpc":"2.0","id":1,"method":"tools/list"}'.encode("utf-16"),
        b'{"jsonrpc":"2.0","id":1,"method":"tools/\xff"}',
        call('{"amount":NaN}'),
        call('{"amount":Infinity}'),
        call('{"amount":1e400}'),
        call('{"amount":01}'),
        call('{"note":"\\ud800"}'),
        call('{"note":"\\udc00\\ud800"}'),
        call('{"a":' + "[" * 70 + "]" * 70 + "}"),
        call('{"a":' * 100_000 + "1" + "}" * 100_000),
        call('{"amount":1,"amount":2}'),
    ],
    ids=lambda body: body[:60].decode(errors="replace"),
)
async def test_a44_what_is_not_json_as_everybody_reads_it_is_a_parse_error(world: World, body: bytes) -> None:
    reply = await posted(world, body)
    assert (reply.status, code(reply), reply.json["id"]) == (400, PARSE_ERROR, None)


@pytest.mark.parametrize("version", [*EVERY_VERSION, ""])
@pytest.mark.parametrize("batch", [b"[]", b'[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]', b'[1,{"a":2}]'])
async def test_a_batch_is_refused_in_every_revision(world: World, version: str, batch: bytes) -> None:
    reply = await posted(world, batch, **({"MCP_Protocol_Version": version} if version else {}))
    assert (reply.status, code(reply)) == (400, INVALID_REQUEST)
    assert "batch" in reply.json["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        b'"tools/list"',
        b"1",
        b"null",
        b"{}",
        b'{"jsonrpc":"1.0","id":1,"method":"tools/list"}',
        b'{"id":1,"method":"tools/list"}',
        b'{"jsonrpc":"2.0","id":null,"method":"tools/list"}',
        b'{"jsonrpc":"2.0","id":1.5,"method":"tools/list"}',
        b'{"jsonrpc":"2.0","id":true,"method":"tools/list"}',
        b'{"jsonrpc":"2.0","id":{},"method":"tools/list"}',
        b'{"jsonrpc":"2.0","id":1,"method":5}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":[]}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":"x"}',
        b'{"jsonrpc":"2.0","method":"tools/call","params":{"name":"charge","arguments":{}}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list","result":{}}',
    ],
)
async def test_json_that_is_no_single_message_is_an_invalid_request(world: World, body: bytes) -> None:
    reply = await posted(world, body)
    assert (reply.status, code(reply)) == (400, INVALID_REQUEST)


LOOKALIKES = [
    b'{"jsonrpc":"2.0","id":1,"method":"tools/list","Method":"tools/call"}',
    b'{"jsonrpc":"2.0","id":1,"METHOD":"tools/call","method":"tools/list"}',
    '{"jsonrpc":"2.0","id":1,"method":"tools/list","param\u017f":{"name":"refund"}}'.encode(),
    b'{"jsonrpc":"2.0","id":1,"method":"tools/list","ID":2}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/list","method\\u0000":"tools/call"}',
    '{"jsonrpc":"2.0","id":1,"method":"tools/list","\uff4dethod":"tools/call"}'.encode(),
    call("{}", '"name":"charge","Name":"refund"'),
    call("{}", '"Name":"refund","name":"charge"'),
    call("{}", '"name":"charge","NAME":"refund"'),
    call("{}", '"name":"charge","name\\u0000":"refund"'),
    call("{}", '"name":"charge","n\\u0061me":"refund"'),
    call("{}", '"name":"charge","name":"refund"'),
    call("{}", '"name":"charge","\uff4eame":"refund"'),
    call("{}", '"name":"charge","Arguments":{"amount":9}'),
    call("{}", '"name":"charge","argument\u017f":{"amount":9}'),
    call("{}", '"name":"charge","_meta":{"io.modelcontextprotocol/ProtocolVersion":"2026-07-28"}'),
    call("{}", '"name":"charge","_META":{}'),
    b'{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/list"}',
    b'{"jsonrpc":"2.0","id":1,"id":1,"method":"tools/list"}',
]


@pytest.mark.parametrize("body", LOOKALIKES, ids=lambda body: body[:120].decode())
async def test_a06_a_member_that_another_reader_takes_for_one_that_was_decided_on_is_refused(
    world: World, body: bytes
) -> None:
    reply = await posted(world, body)
    assert reply.status == 400
    assert code(reply) in (PARSE_ERROR, INVALID_REQUEST)


@pytest.mark.parametrize("version", EVERY_VERSION)
@pytest.mark.parametrize(
    "params",
    [{}, {"name": 5}, {"name": None}, {"name": ["charge"]}, {"name": "charge", "arguments": []}],
)
async def test_a_call_without_a_name_or_with_arguments_that_are_no_object_has_invalid_parameters(
    world: World, version: str, params: dict[str, object]
) -> None:
    before = len(world.backend.calls)
    reply = await ask(world.gateway, version, "tools/call", params, token=world.token("tenant:b"))
    # A name that no header can repeat disagrees with the header that a modern client owes.
    unnameable = version == MODERN and not isinstance(params.get("name") or "", str)
    assert code(reply) == (HEADER_MISMATCH if unnameable else INVALID_PARAMS)
    assert reply.status == (200 if version in LEGACY_VERSIONS else 400)
    assert len(world.backend.calls) == before


@pytest.mark.parametrize(
    "name",
    [
        "\uff52efund", "refund\u200b", "REFUND", "Refund", "refund ", " refund", "refund\0", "ref\u00adund", "refund\n",
        "payments/refund", "payments__refund", "../refund", "__proto__", "constructor", "refund%20", "ref\u0131nd",
        "r\u0435fund", "x" * 100_000, "",
    ],
)  # fmt: skip
async def test_a45_a_name_that_merely_looks_like_a_tools_is_an_unknown_tool(world: World, name: str) -> None:
    before = len(world.backend.calls)
    reply = await world.gateway.call(name, {"amount": 1}, token=world.token("tenant:b"))
    assert (reply.status, code(reply)) == (200, INVALID_PARAMS)
    assert reply.json["error"]["message"] == f"Unknown tool: {name}"
    assert len(world.backend.calls) == before


async def test_a_spelling_of_the_same_name_in_json_is_the_same_name(world: World) -> None:
    reply = await world.gateway.http(
        "POST", "/mcp", call("{}", '"n\\u0061me":"\\u0063harge"'), Authorization=f"Bearer {world.token('tenant:b')}"
    )
    assert reply.json["result"]["content"]
    assert world.backend.calls[-1].message["params"]["name"] == "charge"
    assert b"\\u" not in world.backend.calls[-1].body
