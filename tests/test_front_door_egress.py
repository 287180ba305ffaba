"""Egress mode, the default: trusted callers, prefixed names, the same servers and the same layers behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conftest import TOOLS
from tests.support.backend import FakeBackend, tool
from tests.support.gateway import Portcullis
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(scope="module")
async def servers() -> AsyncIterator[tuple[FakeBackend, FakeBackend]]:
    payments = FakeBackend(definitions=[tool(name) for name in TOOLS])
    reports = FakeBackend(definitions=[tool("charge"), tool("daily")], era="legacy")
    async with payments.serve(), reports.serve():
        yield payments, reports


@pytest.fixture(scope="module")
async def egress(
    tmp_path_factory: pytest.TempPathFactory, servers: tuple[FakeBackend, FakeBackend]
) -> AsyncIterator[Portcullis]:
    payments, reports = servers
    config = {
        "mcp_servers": {
            "payments": {
                "mode": "remote",
                "endpoint": payments.url,
                "tools": {"deny_list": ["beta_*"]},
                "tool_projection": {"withdrawn": ["legacy_charge"]},
            },
            "reports": {"mode": "remote", "endpoint": reports.url},
        }
    }
    async with Portcullis(tmp_path_factory.mktemp("egress"), config) as running:
        yield running


EVERY = ["payments__charge", "payments__refund", "reports__charge", "reports__daily"]


async def test_tools_of_every_server_are_listed_under_its_name_without_any_credential(egress: Portcullis) -> None:
    assert await egress.tools() == EVERY


async def test_a_call_reaches_the_server_that_its_name_says_under_the_servers_own_name(
    egress: Portcullis, servers: tuple[FakeBackend, FakeBackend]
) -> None:
    for prefix, backend in zip(("payments", "reports"), servers, strict=True):
        reply = await egress.call(f"{prefix}__charge", {"amount": 1})
        assert reply.json["result"]["content"]
        assert backend.calls[-1].message["params"]["name"] == "charge"


@pytest.mark.parametrize(
    "name",
    ["charge", "payments__beta_tool", "payments__legacy_charge", "payments/charge", "payments__", "reports__refund"],
)
async def test_what_server_lists_and_config_take_away_is_an_unknown_tool(
    egress: Portcullis, servers: tuple[FakeBackend, FakeBackend], name: str
) -> None:
    before = [len(backend.calls) for backend in servers]
    reply = await egress.call(name)
    assert reply.json["error"] == {"code": -32602, "message": f"Unknown tool: {name}"}
    assert [len(backend.calls) for backend in servers] == before


async def test_a_tool_withdrawn_on_the_command_line_is_gone_and_comes_back(egress: Portcullis) -> None:
    status, out, err = await egress.cli("tool", "withdraw", "payments", "refund")
    assert status == 0, out + err

    async def gone() -> bool:
        return await egress.tools() == [name for name in EVERY if name != "payments__refund"]

    await until(gone)
    reply = await egress.call("payments__refund")
    assert reply.json["error"]["message"] == "Unknown tool: payments__refund"
    status, out, err = await egress.cli("tool", "restore", "payments", "refund")
    assert status == 0, out + err

    async def back() -> bool:
        return await egress.tools() == EVERY

    await until(back)


async def test_with_authentication_off_a_credential_changes_nothing_and_the_admin_api_is_closed(
    egress: Portcullis,
) -> None:
    assert await egress.tools(token="nonsense") == EVERY
    reply = await egress.http("POST", "/api/admin/tools/payments/refund/withdraw", {}, X_API_Key="mcp_nonsense")
    assert reply.status == 401
    assert await egress.tools() == EVERY
    assert "credentials are ignored" in egress.log or "auth.enabled" in egress.log


async def test_there_is_no_metadata_without_an_issuer(egress: Portcullis) -> None:
    assert (await egress.http("GET", "/.well-known/oauth-protected-resource")).status == 404


async def test_a_withdrawal_of_an_unknown_server_is_refused_with_the_names_that_there_are(egress: Portcullis) -> None:
    status, _, err = await egress.cli("tool", "withdraw", "paymints", "refund")
    assert status == 1
    assert "payments" in err
