"""Quotas at the front door: one request too many is told so in both protocols, and another tenant notices nothing."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from gateway import keys
from gateway.facts import Replica
from gateway.ledger.connect import open_ledger
from tests.conftest import TOOLS
from tests.support.agents import ask
from tests.support.backend import FakeBackend, tool
from tests.support.gateway import MODERN, PATIENT, Portcullis, front_door, payments
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.gateway import Reply
    from tests.support.issuer import Issuer

KEYS = {name: keys.mint() for name in ("often", "slots", "both", "flood", "quiet")}
CHARGE = {"name": "charge", "arguments": {}}


def row(name: str, **quotas: int) -> dict[str, Any]:
    """Return a tenant with a key of its own."""
    return {"id": name, "api_keys": [{"key_hash": f"sha256:{keys.sha256(KEYS[name])}", "name": "k"}], "quotas": quotas}


class Metered:
    """A gateway with tenants that have limits, and the server behind it, which answers when it is told to."""

    def __init__(self, gateway: Portcullis, backend: FakeBackend) -> None:
        self.gateway = gateway
        self.backend = backend

    async def call(self, tenant: str, name: str = "charge") -> Reply:
        """Call a tool with the key of a tenant, as older agents do."""
        return await self.gateway.call(name, X_API_Key=KEYS[tenant])

    async def charge(self, tenant: str) -> Reply:
        """Call a tool as agents of the modern era do, whose calls end when they hang up."""
        return await ask(self.gateway, MODERN, "tools/call", CHARGE, token=None, X_API_Key=KEYS[tenant])

    async def fill(self, tenant: str, slots: int) -> list[asyncio.Task[Reply]]:
        """Begin so many calls that stay at the server."""
        before = len(self.backend.calls)
        calls = [asyncio.create_task(self.charge(tenant)) for _ in range(slots)]
        await until(lambda: len(self.backend.calls) == before + slots, what="the calls are at the server")
        return calls


@pytest.fixture(scope="module")
async def metered(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> AsyncIterator[Metered]:
    async with FakeBackend(definitions=[tool(name) for name in TOOLS]).serve() as backend:
        everybody = payments(backend.url, tool_access={"member": {"*": {}}}, tool_projection={})
        config = front_door("", issuer.url, opa=PATIENT) | {"mcp_servers": {"payments": everybody}}
        config["tenants"] = [
            row("often", requests_per_minute=6),
            row("slots", max_concurrent_requests=2),
            row("both", max_concurrent_requests=1, requests_per_minute=100),
            row("flood", max_concurrent_requests=4, requests_per_minute=30),
            row("quiet"),
        ]
        async with Portcullis(tmp_path_factory.mktemp("metered"), config) as gateway:
            yield Metered(gateway, backend)


def told(reply: Reply) -> dict[str, Any]:
    """Return what a refusal at a limit says, once it says so in both protocols."""
    error = reply.json["error"]
    assert (reply.status, error["code"], reply.json["id"]) == (429, 42900, 1)
    assert reply.headers["Content-Type"] == "application/json"
    assert int(reply.headers["Retry-After"]) >= 1
    assert 0 < error["data"]["retryAfterMs"] <= int(reply.headers["Retry-After"]) * 1000
    data: dict[str, Any] = error["data"]
    return data


async def test_quotas_are_enforced_one_request_over_the_rate_is_429_with_when_to_come_back(metered: Metered) -> None:
    counted = [await metered.call("often", name) for name in ("charge", "nothing", "refund", "charge", "charge")]
    assert [reply.status for reply in counted] == [200] * 5
    assert len(await metered.gateway.tools(X_API_Key=KEYS["often"])) == len(TOOLS)
    before = len(metered.backend.calls)
    refused = [await metered.call("often"), await metered.call("often", "nothing"), await metered.charge("often")]
    refused += [await metered.gateway.rpc("tools/list", X_API_Key=KEYS["often"])]
    # What exists and what does not is refused alike, and none of it has reached the server.
    assert {told(reply)["limit"] for reply in refused} == {"requests_per_minute"}
    assert len(metered.backend.calls) == before
    assert (await metered.gateway.rpc("ping", X_API_Key=KEYS["often"])).status == 200
    assert [(await metered.call("quiet")).status for _ in range(10)] == [200] * 10
    events = await metered.gateway.events(type="RequestLimited", tenant="often")
    assert {(one["reason"], one["target"]["action"]) for one in events} == {
        ("over_rate", "tools/call"), ("over_rate", "tools/list")}  # fmt: skip
    assert {one["actor"]["principal"] for one in events} == {"service:often/k"}
    # Policy was not asked: nothing in the event is of a decision.
    assert {tuple(one.get("policy", {})) for one in events} == {()}


async def test_a_tenant_at_its_slots_is_refused_and_another_is_not_until_a_call_has_ended(metered: Metered) -> None:
    metered.backend.delay = asyncio.Event()
    try:
        calls = await metered.fill("slots", 2)
        assert told(await metered.call("slots"))["limit"] == "max_concurrent_requests"
        listed = await metered.gateway.rpc("tools/list", X_API_Key=KEYS["slots"])
        assert told(listed)["limit"] == "max_concurrent_requests"
        others = await metered.fill("quiet", 3)
    finally:
        metered.backend.delay.set()
    assert [reply.status for reply in await asyncio.gather(*calls, *others)] == [200] * 5
    assert (await metered.call("slots")).status == 200


async def test_slots_come_back_from_failed_calls_cancelled_calls_and_refused_ones(metered: Metered) -> None:
    async def broken(_request: Any, message: Any) -> Any:
        return None if message["method"] != "tools/call" else _failing()

    def _failing() -> Any:
        raise RuntimeError("the server breaks")

    metered.backend.misbehave = broken
    for _ in range(5):
        assert "error" in (await metered.call("both")).json
    metered.backend.misbehave = None
    for _ in range(5):
        assert (await metered.call("both", "nothing")).json["error"]["code"] == -32602
    metered.backend.delay = asyncio.Event()
    try:
        (hung,) = await metered.fill("both", 1)
        aborted = metered.backend.aborted
        hung.cancel()
        await until(lambda: metered.backend.aborted > aborted, what="the call is cancelled at the server")
    finally:
        metered.backend.delay.set()

    async def admitted() -> bool:
        return (await metered.call("both")).status == 200

    await until(admitted, what="the slot has come back")


async def test_a_flooding_tenant_beside_a_quiet_one_takes_neither_its_answers_nor_opas_time(metered: Metered) -> None:
    async def decided() -> int:
        reply = await metered.gateway.http("GET", "/metrics", X_API_Key=key)
        pattern = r'^portcullis_decision_seconds_count\{action="tools/call"\} (\d+)'
        found = re.search(pattern, reply.body.decode(), re.MULTILINE)
        return int(found[1]) if found else 0

    key = await metered.gateway.key("service:metrics", role="viewer")
    over, flooded = asyncio.Event(), Counter[int]()

    async def flood() -> None:
        while not over.is_set():
            flooded[(await metered.call("flood")).status] += 1

    # What may come at once has come, and no more than that many are under way.
    for _ in range(31):
        last = await metered.call("flood")
    assert told(last)["limit"] == "requests_per_minute"
    before = await decided()
    agents = [asyncio.create_task(flood()) for _ in range(32)]
    quiet = [await metered.call("quiet") for _ in range(100)]
    over.set()
    await asyncio.gather(*agents)
    assert [reply.status for reply in quiet] == [200] * 100
    assert all("result" in reply.json for reply in quiet)
    assert flooded[429] > 32
    # OPA was asked for the quiet one and for what the flood's rate has earned meanwhile, one in two seconds.
    assert await decided() - before == 100 + flooded[200]
    assert flooded.keys() <= {200, 429}


async def test_several_gateways_enforce_a_share_each(metered: Metered) -> None:
    ledger = await open_ledger(f"sqlite:///{metered.gateway.state / 'portcullis.db'}")
    metered.backend.delay = asyncio.Event()
    try:
        await ledger.register_replica(Replica("another", "0" * 64, 0))
        calls = await metered.fill("slots", 1)

        async def shared() -> bool:
            # A share is known once a decision has come of it, so that the first one over it may still be judged.
            return (await metered.gateway.rpc("tools/list", X_API_Key=KEYS["slots"])).status == 429

        await until(shared, 20, what="the gateway has counted two")
        assert told(await metered.call("slots"))["limit"] == "max_concurrent_requests"
    finally:
        metered.backend.delay.set()
        await ledger.forget_replica("another")
        await ledger.close()
    assert [reply.status for reply in await asyncio.gather(*calls)] == [200]
