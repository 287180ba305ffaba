"""What operators scrape: who may read it, and that it counts what happened."""

from __future__ import annotations

import asyncio
import re
import socket
from typing import TYPE_CHECKING

from tests.support.gateway import Portcullis, front_door
from tests.support.wait import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import World
    from tests.support.backend import FakeBackend
    from tests.support.issuer import Issuer


async def scraped(world: World) -> dict[str, float]:
    reply = await world.gateway.http("GET", "/metrics", X_API_Key=world.admin_key)
    assert reply.status == 200, reply
    rows = re.findall(r"^(portcullis_.+) ([0-9.e+-]+)$", reply.body.decode(), re.MULTILINE)
    return {name: float(value) for name, value in rows}


async def test_metrics_are_for_whoever_policy_grants_them_and_for_nobody_else(world: World) -> None:
    assert (await world.gateway.http("GET", "/metrics")).status == 401
    token = f"Bearer {world.token('tenant:a')}"
    assert (await world.gateway.http("GET", "/metrics", Authorization=token)).status == 403
    auditor = await world.gateway.key("service:scraper", role="auditor")
    assert (await world.gateway.http("GET", "/metrics", X_API_Key=auditor)).status == 200


async def test_decisions_are_counted_by_action_outcome_and_known_tenant(world: World) -> None:
    counted = 'portcullis_decisions_total{action="tools/call",outcome="%s",reason="%s",tenant="%s"}'
    before = await scraped(world)
    await world.gateway.call("charge", token=world.token("tenant:a"))
    await world.gateway.call("refund", token=world.token("tenant:a"))
    await world.gateway.call("charge", token=world.token("tenant:nobody-knows"))
    after = await scraped(world)
    for outcome, reason, tenant in (
        ("success", "", "tenant:a"),
        ("failure", "not_in_member_scope", "tenant:a"),
        ("failure", "unknown_tenant", "other"),
    ):
        name = counted % (outcome, reason, tenant)
        assert after[name] == before.get(name, 0) + 1
    assert not any("nobody-knows" in name for name in after)


async def test_latencies_of_decision_and_server_are_measured(world: World) -> None:
    await world.gateway.call("charge", token=world.token("tenant:a"))
    after = await scraped(world)
    assert after['portcullis_decision_seconds_count{action="tools/call"}'] >= 1
    assert after['portcullis_upstream_seconds_count{outcome="success",server="payments"}'] >= 1


async def test_the_age_and_the_revision_of_policy_are_known(world: World) -> None:
    await world.gateway.tools(world.token("tenant:a"))

    async def known() -> bool:
        after = await scraped(world)
        return after["portcullis_policy_revision"] >= 1 and 0 <= after["portcullis_policy_age_seconds"] < 60

    await until(known)
    assert (await scraped(world))["portcullis_opa_restarts_total"] == 0
    after = await scraped(world)
    assert (after["portcullis_names_contested"], after["portcullis_config_drift"]) == (0, 0)
    assert "background task" not in world.gateway.log


async def test_a_tool_call_is_counted_by_server_tool_and_what_came_of_it(world: World) -> None:
    names = [
        f'portcullis_tool_calls_total{{outcome="{outcome}",server="payments",tool="charge"}}'
        for outcome in ("success", "tool_error")
    ]
    before = await scraped(world)
    world.backend.answer = lambda _: {"content": [], "isError": True}
    try:
        await world.gateway.call("charge", token=world.token("tenant:a"))
    finally:
        world.backend.answer = None
    await world.gateway.call("charge", token=world.token("tenant:a"))
    after = await scraped(world)
    assert [after[name] - before.get(name, 0) for name in names] == [1, 1]


async def test_what_the_gateway_hangs_on_is_told_apart(world: World) -> None:
    await world.gateway.tools(world.token("tenant:a"))

    async def well() -> bool:
        found = await scraped(world)
        wanted = {
            'portcullis_upstream_up{server="payments"}': 1,
            'portcullis_upstream_tools{server="payments"}': 4,
            "portcullis_upstreams_down": 0,
            "portcullis_ledger_reachable": 1,
            "portcullis_opa_available": 1,
            "portcullis_bundles_distrusted": 0,
            "portcullis_sync_reachable": 1,
            "portcullis_sync_problems": 0,
            "portcullis_replica_counted": 1,
            "portcullis_replicas": 1,
            "portcullis_replicas_behind": 0,
            "portcullis_tenants": 2,
            "portcullis_catalogs_kept_back": 0,
            "portcullis_draining": 0,
        }
        keys = found[f'portcullis_jwks_age_seconds{{issuer="{world.issuer.url}"}}']
        same = found["portcullis_ledger_revision"] == found["portcullis_policy_revision"] >= 1
        return same and {name: found.get(name) for name in wanted} == wanted and 0 <= keys < 3600

    await until(well, timeout=20)


async def test_requests_under_way_and_connections_are_counted_as_they_are(world: World) -> None:
    world.backend.delay = asyncio.Event()
    call = asyncio.create_task(world.gateway.call("charge", token=world.token("tenant:a")))

    async def under_way() -> bool:
        found = await scraped(world)
        return found["portcullis_requests_in_flight"] >= 1 and found["portcullis_connections_open"] >= 2

    try:
        await until(under_way)
    finally:
        world.backend.delay.set()
        world.backend.delay = None
        await call


async def test_a_listener_of_its_own_serves_metrics_and_health_and_nothing_else(
    tmp_path: Path, issuer: Issuer, backend: FakeBackend
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = front_door(f"http://127.0.0.1:{backend.port}/mcp", issuer.url, metrics={"listen": f"127.0.0.1:{port}"})
    async with Portcullis(tmp_path, config) as gateway:
        gateway.url = f"http://127.0.0.1:{port}"
        statuses = {path: (await gateway.http("GET", path)).status for path in ("/metrics", "/health/live")}
        assert statuses == {"/metrics": 200, "/health/live": 200}
        assert (await gateway.http("POST", "/mcp", b"{}")).status == 404
        reply = await gateway.http("GET", "/metrics")
    assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    for name in (b"process_cpu_seconds_total", b"python_gc_collections_total", b"portcullis_build_info{opa="):
        assert b"\n" + name in reply.body
