"""Bodies made to cost more than they weigh: to read, to compare, to answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from gateway.mcp import json as strict
from gateway.mcp.envelope import MAX_MEMBERS
from gateway.mcp.errors import PARSE_ERROR

if TYPE_CHECKING:
    from tests.conftest import World


def call(arguments: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"charge","arguments":' + arguments + b"}}"


MANY = strict.MAX_VALUES + 1


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("lists", b'{"a":[' + b"[]," * MANY + b"[]]}"),
        ("objects", b'{"a":[' + b"{}," * MANY + b"{}]}"),
        ("numbers", b'{"a":[ ' + b"1," * MANY + b"1]}"),
        ("members", b"{" + b",".join(b'"%d":0' % number for number in range(MANY)) + b"}"),
        ("behind a string that ends in a backslash", b'{"b":"\\\\","a":[' + b"[]," * MANY + b"[]]}"),
        ("behind a string with a quote in it", b'{"b":"\\"","a":[' + b"[]," * MANY + b"[]]}"),
        ("before a string that never ends", b'{"a":[' + b"[]," * MANY + b'"' + b'\\"' * MANY),
    ],
)
async def test_a44_a_body_of_more_values_than_anybody_needs_is_refused_unread(
    world: World, name: str, arguments: bytes
) -> None:
    before = len(world.backend.calls)
    reply = await world.gateway.http("POST", "/mcp", call(arguments), Authorization=f"Bearer {world.token('tenant:a')}")
    assert (reply.status, reply.json["error"]["code"]) == (400, PARSE_ERROR), name
    assert len(world.backend.calls) == before


async def test_a_long_text_full_of_commas_and_brackets_is_one_value(world: World) -> None:
    text = 'a,"b",[{\\' * (MANY // 4 + 1)
    reply = await world.gateway.call("charge", {"text": text}, token=world.token("tenant:a"))
    assert reply.status == 200
    assert world.backend.calls[-1].message["params"]["arguments"] == {"text": text}


@pytest.mark.parametrize("where", ["message", "params", "_meta"])
async def test_a06_members_beside_the_arguments_are_counted_before_they_are_compared(world: World, where: str) -> None:
    many: dict[str, Any] = {f"ﷺ{number}": 0 for number in range(MAX_MEMBERS + 1)}
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    {"message": message, "params": message["params"], "_meta": message["params"].setdefault("_meta", {})}[where].update(
        many
    )
    token = world.token("tenant:a")
    reply = await world.gateway.http("POST", "/mcp", message, Authorization=f"Bearer {token}")
    assert reply.status == 400
    assert "too many members" in reply.json["error"]["message"]


async def test_the_answer_to_a_bad_admin_body_is_not_larger_than_the_body(world: World) -> None:
    body = json.dumps({f"{number}": 0 for number in range(50_000)} | {"tenant_id": 5}).encode()
    reply = await world.gateway.http(
        "POST", "/api/admin/tools/payments/charge/withdraw", body, Authorization=f"Bearer {world.token('tenant:a')}"
    )
    assert reply.status == 400
    assert len(reply.body) < 4096
    assert "tenant_id" in [one["field"] for one in reply.json["errors"]]
