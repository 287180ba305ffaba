"""What an answer gives away to somebody who may not know it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from gateway.audit import event
from gateway.metrics import MAX_CODES, Metrics
from tests.support.gateway import Portcullis, front_door, payments
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.backend import FakeBackend
    from tests.support.gateway import Reply
    from tests.support.issuer import Issuer

WITHDRAWALS = "/api/admin/withdrawals"


@dataclass
class House:
    """The recipe, with a server that only tenant:c may know of."""

    gateway: Portcullis
    issuer: Issuer
    root: str
    a_admin: str
    c_admin: str

    async def withdrawals(self, tenant: str) -> list[str]:
        reply = await self.gateway.http(
            "GET", WITHDRAWALS, Authorization=f"Bearer {self.issuer.mint(tenant_id=tenant)}"
        )
        assert reply.status == 200
        return [f"{one['mcp_server']}/{one['tool']}" for one in reply.json["withdrawals"]]


@pytest.fixture(scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory, backend: FakeBackend, issuer: Issuer) -> AsyncIterator[House]:
    url = f"http://127.0.0.1:{backend.port}/mcp"
    config = front_door(url, issuer.url, server={"trusted_proxies": ["127.0.0.1/32"]})
    config["mcp_servers"]["vault"] = payments(url, tool_access={"member": {"tenant:c": {}}}, tool_projection={})
    async with Portcullis(tmp_path_factory.mktemp("house"), config) as gateway:
        keys = [await gateway.key(f"service:{t}", "--tenant", f"tenant:{t}") for t in ("a", "c")]
        yield House(gateway, issuer, await gateway.key(), *keys)


def told(reply: Reply) -> tuple[Any, ...]:
    """Return all that an answer says, but for the ids and the time that differ with every one."""
    headers = {name: value for name, value in reply.headers.items() if name.lower() not in ("x-request-id", "date")}
    request_id = reply.headers["X-Request-ID"].encode()
    return reply.status, headers, reply.body.replace(request_id, b"<id>")


async def test_an_agent_does_not_read_of_servers_that_are_not_its_tenants(house: House) -> None:
    for path in ("vault/charge", "payments/charge"):
        assert (await house.gateway.admin(f"{path}/withdraw", None, key=house.root)).status in (200, 202)
    try:
        assert await house.withdrawals("tenant:a") == ["payments/charge"]
        assert await house.withdrawals("tenant:c") == ["vault/charge"]
    finally:
        for path in ("vault/charge", "payments/charge"):
            await house.gateway.admin(f"{path}/restore", None, key=house.root)


@pytest.mark.parametrize("action", ["withdraw", "restore"])
async def test_a_tenants_admin_cannot_tell_a_foreign_server_from_none(house: House, action: str) -> None:
    answers = []
    for path in ("vault/charge", "vault/nothing", "faulv/charge"):
        reply = await house.gateway.admin(f"{path}/{action}", {"tenant_id": "tenant:a"}, key=house.a_admin)
        status, headers, body = told(reply)
        answers.append((status, headers, body.replace(b"faulv", b"vault")))
    assert answers[0] == answers[1] == answers[2]
    assert answers[0][0] == 404
    own = await house.gateway.admin(f"vault/charge/{action}", {"tenant_id": "tenant:c"}, key=house.c_admin)
    assert own.status in (200, 202)


async def test_a_hidden_a_foreign_and_an_unknown_tool_answer_byte_for_byte_alike(house: House) -> None:
    token = house.issuer.mint(tenant_id="tenant:a")
    paths = ("/mcp", "/tenant/tenant:a/mcp", "/tenant/tenant:a/servers/payments/mcp")
    for path in paths:
        answers = set()
        for name in ("refund", "legacy_charge", "nobody_has_this", "x" * 300):
            params = {"name": name, "arguments": {"a": 1}}
            message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
            status, headers, body = told(
                await house.gateway.http("POST", path, message, Authorization=f"Bearer {token}")
            )
            del headers["Content-Length"]
            answers.add((status, tuple(headers.items()), body.replace(name.encode(), b"<name>")))
        assert len(answers) == 1


async def test_an_unknown_and_a_foreign_tenant_or_server_answer_alike(house: House) -> None:
    token = f"Bearer {house.issuer.mint(tenant_id='tenant:a')}"
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    for known, unknown in (
        ("/tenant/tenant:b/mcp", "/tenant/tenant:q/mcp"),
        ("/tenant/tenant:b/servers/payments/mcp", "/tenant/tenant:q/servers/payments/mcp"),
        ("/tenant/tenant:a/servers/vault/mcp", "/tenant/tenant:a/servers/faulv/mcp"),
    ):
        answers = [
            told(await house.gateway.http("POST", path, message, Authorization=token)) for path in (known, unknown)
        ]
        assert answers[0] == answers[1]


async def test_an_unknown_a_revoked_and_a_mistyped_key_answer_alike(house: House) -> None:
    key = await house.gateway.key("service:gone", "--tenant", "tenant:a")
    _, out, _ = await house.gateway.cli("key", "list", "--json")
    (id_,) = re.findall(r'"id": "(c_[0-9a-f]+)"[^{}]*"principal": "service:gone"', out)
    assert (await house.gateway.cli("key", "revoke", id_))[0] == 0

    async def refused() -> bool:
        return (await house.gateway.rpc("ping", X_API_Key=key)).status == 401

    await until(refused, what="the key is revoked")
    tried = (key, key[:-1] + "x", "mcp_" + "A" * 49)
    assert len({str(told(await house.gateway.rpc("ping", X_API_Key=one))) for one in tried}) == 1


async def test_a63_codes_that_callers_write_through_a_custom_policy_do_not_fill_the_metrics() -> None:
    metrics = Metrics(lambda _: True)
    for number in range(10 * MAX_CODES):
        policy = {"layer": "custom", "reasons": []}
        metrics.observe(event("AuthorizationDenied", "failure", reason=f"amount {number} over limit", policy=policy))
    exposed = await metrics.exposition()
    series = [line for line in exposed.splitlines() if line.startswith(b"portcullis_events_total")]
    assert len(series) == MAX_CODES + 1
