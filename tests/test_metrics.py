"""What is counted, under which labels, how far that can grow, and what one tenant may read of it."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from gateway import families
from gateway.audit import event
from gateway.metrics import SAMPLES_A_TURN, Metrics

if TYPE_CHECKING:
    from gateway.model import AuditEvent

CALL = {"action": "tools/call", "server": "payments", "id": "payments/charge"}


def called(tenant: str | None = "a", outcome: str = "success", reason: str | None = None, **target: Any) -> AuditEvent:
    return event("ToolCalled", outcome, reason=reason, tenant=tenant, target=CALL | target, latency_ms=3.0)


def refused(tenant: str, reason: str, **target: Any) -> AuditEvent:
    return event(
        "AuthorizationDenied", "failure", reason=reason, tenant=tenant, target={"action": "tools/call"} | target
    )


def knowing(*tenants: str) -> Metrics:
    return Metrics(lambda tenant: tenant in tenants)


async def samples(metrics: Metrics, name: str, tenant: str | None = None) -> dict[str, float]:
    text = (await metrics.exposition(tenant)).decode()
    return {labels: float(value) for labels, value in re.findall(rf"^{name}{{(.*)}} (.+)$", text, re.MULTILINE)}


async def test_what_came_of_a_call_is_counted_by_server_and_tool_and_is_error_apart() -> None:
    metrics = knowing("a")
    for one in (
        called(),
        called(is_error=True),
        called(outcome="error", reason="upstream_failed"),
        called(outcome="error", reason="cancelled"),
        refused("a", "withdrawn", **CALL),
    ):
        metrics.observe(one)
    found = await samples(metrics, "portcullis_tool_calls_total")
    ending = 'server="payments",tool="charge"'
    outcomes = ("success", "tool_error", "upstream_failed", "cancelled", "refused")
    assert found == {f'outcome="{outcome}",{ending}': 1 for outcome in outcomes}


async def test_a_name_that_no_server_has_is_no_label() -> None:
    metrics = knowing("a")
    metrics.observe(refused("a", "unknown_target", name="whatever-an-agent-made-up"))
    assert b"made-up" not in await metrics.exposition()


async def test_a_tool_with_a_slash_keeps_its_name_and_a_server_of_a_tenants_own_its_owner() -> None:
    metrics = knowing("team:a")
    metrics.observe(called(server="team:a:reports", id="team:a:reports/make/it"))
    assert [*await samples(metrics, "portcullis_tool_calls_total")] == [
        'outcome="success",server="team:a:reports",tool="make/it"'
    ]


async def test_a_tenant_reads_its_own_series_and_those_of_its_own_servers_and_nothing_else() -> None:
    metrics = knowing("a", "b", "a:b")
    for tenant in ("a", "b", "a:b", "stranger", None):
        metrics.observe(called(tenant))
    for server in ("a:reports", "b:reports", "a:b:reports", "payments"):
        metrics.observe(called("a", server=server, id=f"{server}/make", seconds=0.1))
    metrics.answered("/mcp", 200)
    text = (await metrics.exposition("a")).decode()
    assert set(re.findall(r'(?:tenant|server)="([^"]*)"', text)) == {"a", "a:reports"}
    assert set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)) == {
        "portcullis_decisions_total", "portcullis_tool_calls_total", "portcullis_upstream_seconds",
    }  # fmt: skip
    assert all(re.search('tenant="a"|server="a:', line) for line in text.splitlines() if not line.startswith("#"))


async def test_a_tenant_that_is_called_other_reads_nothing_of_those_who_are_not_known() -> None:
    metrics = knowing("other")
    metrics.observe(called("stranger"))
    assert await metrics.exposition("other") == b""


async def test_a_tenant_nobody_knows_reads_nothing() -> None:
    metrics = knowing("a")
    metrics.observe(called("a"))
    metrics.observe(called("ghost"))
    assert await metrics.exposition("ghost") == b""


async def test_tenants_and_servers_that_are_gone_are_forgotten_with_a_reload() -> None:
    known = {"a", "b"}
    metrics = Metrics(known.__contains__)
    for tenant in ("a", "b", "stranger", None):
        metrics.observe(called(tenant, seconds=0.1))
        metrics.observe(called(tenant, server="old", id="old/make", seconds=0.1))
    known.remove("b")
    metrics.retain(lambda server: server == "payments")
    text = (await metrics.exposition()).decode()
    assert set(re.findall(r'tenant="([^"]*)"', text)) == {"a", "other", ""}
    assert set(re.findall(r'server="([^"]*)"', text)) == {"payments"}


async def test_ten_thousand_hostile_tenants_stay_within_the_limit_and_it_is_said() -> None:
    metrics = Metrics(lambda _: True)
    reasons = [f"code_{number}" for number in range(11)]
    for tenant in range(10_000):
        for reason in reasons:
            metrics.observe(refused(f"t{tenant}", reason))
    found = await samples(metrics, "portcullis_decisions_total")
    assert sum(found.values()) == 110_000
    assert len(found) == families.MAX_DECISIONS + len(reasons)
    folded = await samples(metrics, "portcullis_series_folded_total")
    assert folded['series="portcullis_decisions_total"'] == 10_000


async def test_everybody_else_gets_a_turn_while_a_great_many_samples_are_written() -> None:
    metrics = Metrics(lambda _: True)
    for tenant in range(SAMPLES_A_TURN * 10):
        metrics.observe(called(f"t{tenant}"))
    writing, turns = asyncio.create_task(metrics.exposition()), 0
    while not writing.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 10


async def test_what_happens_while_samples_are_written_breaks_nothing() -> None:
    metrics = Metrics(lambda _: True)
    for tenant in range(SAMPLES_A_TURN * 4):
        metrics.observe(called(f"t{tenant}"))
    writing = asyncio.create_task(metrics.exposition())
    number = 0
    while not writing.done():
        metrics.observe(called(f"new{number}"))
        metrics.retain(lambda _: True)
        number += 1
        await asyncio.sleep(0)
    assert b'tenant="t0"' in await writing


async def test_stale_decisions_are_counted_by_action() -> None:
    metrics = knowing("a")
    target = {"action": "tools/list"}
    metrics.observe(event("AuthorizationGranted", "success", target=target, policy={"stale": True}))
    metrics.observe(event("AuthorizationGranted", "success", target=target, policy={"stale": False}))
    assert await samples(metrics, "portcullis_stale_decisions_total") == {'action="tools/list"': 1}
