"""Servers made with the official SDK, in every way it serves."""

from __future__ import annotations

import json

import pytest

from gateway.ids import Ref
from gateway.mcp import results
from gateway.mcp.agent import Agent
from gateway.mcp.eras import Era
from gateway.model import ANONYMOUS
from gateway.upstream.pool import Upstreams
from gateway.upstream.target import Target
from tests.support.sdk_server import sdk_server
from tests.support.upstreams import call_tool

WAYS = [
    {"modern": True, "json_response": True},
    {"modern": True, "json_response": False},
    {"modern": False, "json_response": True},
    {"modern": False, "json_response": False},
    {"modern": False, "json_response": False, "stateless": True},
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: " ".join(name for name, on in way.items() if on) or "legacy SSE")
async def test_a_server_made_with_the_sdk_is_listed_and_called(way):
    async with sdk_server(**way) as endpoint:
        upstreams = Upstreams({"payments": Target("payments", endpoint)})
        try:
            tools = await upstreams.list_tools("payments")
            assert [tool.name for tool in tools] == ["beta_tool", "charge", "legacy_charge", "refund"]
            charge = Ref.of_tool("payments", "charge")
            for _ in range(3):
                answer = await call_tool(upstreams, charge, {"amount": 2**70}, {"traceparent": "x"}, ANONYMOUS)
                assert answer.member("content")[0]["text"].startswith(f"charged {2**70} EUR")
            wrong = await call_tool(upstreams, charge, {"amount": "much"}, {}, ANONYMOUS)
            assert wrong.is_error
        finally:
            await upstreams.close()
    for era in Era:
        assert json.loads(results.relayed(1, Agent(era), "tools/call", answer)[0])["result"]["isError"] is False
