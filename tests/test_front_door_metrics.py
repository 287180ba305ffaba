"""What operators scrape: who may read it, and that it counts what happened."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.support.wait import until

if TYPE_CHECKING:
    from tests.conftest import World


async def scraped(world: World) -> dict[str, float]:
    reply = await world.gateway.http("GET", "/metrics", X_API_Key=world.admin_key)
    assert reply.status == 200, reply
    rows = re.findall(r"^(portcullis_[^ ]+) ([0-9.e+-]+)$", reply.body.decode(), re.MULTILINE)
    return {name: float(value) for name, value in rows}


async def test_metrics_are_for_whoever_policy_grants_them_and_for_nobody_else(world: World) -> None:
    assert (await world.gateway.http("GET", "/metrics")).status == 401
    token = f"Bearer {world.token('tenant:a')}"
    assert (await world.gateway.http("GET", "/metrics", Authorization=token)).status == 403
    auditor = await world.gateway.key("service:scraper", role="auditor")
    assert (await world.gateway.http("GET", "/metrics", X_API_Key=auditor)).status == 200


async def test_decisions_are_counted_by_action_outcome_and_known_tenant(world: World) -> None:
    counted = 'portcullis_decisions_total{action="tools/call",outcome="%s",tenant="%s"}'
    before = await scraped(world)
    await world.gateway.call("charge", token=world.token("tenant:a"))
    await world.gateway.call("refund", token=world.token("tenant:a"))
    await world.gateway.call("charge", token=world.token("tenant:nobody-knows"))
    after = await scraped(world)
    for outcome, tenant in (("success", "tenant:a"), ("failure", "tenant:a"), ("failure", "other")):
        name = counted % (outcome, tenant)
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
    assert (await scraped(world))["portcullis_opa_restarts"] == 0
    after = await scraped(world)
    assert (after["portcullis_names_contested"], after["portcullis_config_drift"]) == (0, 0)
    assert "background task" not in world.gateway.log
