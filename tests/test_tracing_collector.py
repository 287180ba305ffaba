"""Traces cost no request: a collector that is away or slow, and gateways that send none."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.collector import Collector
from tests.support.traced import AT_ONCE, THEIRS, TRACEPARENT, Traced, traced
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from tests.support.backend import FakeBackend
    from tests.support.issuer import Issuer

QUEUE, BATCH = 8, 4
SAMPLED = 1
# Longer than any test: what ends in time has not waited for the exporter's own patience.
UNHURRIED = {"OTEL_EXPORTER_OTLP_TIMEOUT": "600"}
SMALL = {"OTEL_BSP_MAX_QUEUE_SIZE": str(QUEUE), "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": str(BATCH)}


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with Collector().serve() as serving:
        yield serving


async def test_a_collector_that_is_away_keeps_no_request_and_no_end_waiting(
    tmp_path: Path, issuer: Issuer, backend: FakeBackend
) -> None:
    nobody = Collector(url="http://127.0.0.1:9")
    async with traced(tmp_path, issuer, backend, nobody, AT_ONCE | UNHURRIED) as gateway:
        reply = await gateway.call("charge", token=issuer.mint(tenant_id="tenant:a"))
        assert reply.status == 200
        assert await gateway.stop() == 0


async def test_a_collector_that_does_not_answer_costs_no_request_no_end_and_no_more_memory_than_its_queue(
    tmp_path: Path, issuer: Issuer, backend: FakeBackend, collector: Collector
) -> None:
    collector.held = asyncio.Event()
    async with traced(tmp_path, issuer, backend, collector, AT_ONCE | UNHURRIED | SMALL) as gateway:
        world = Traced(gateway, backend, collector, issuer.mint(tenant_id="tenant:a"))
        replies = [await world.call("charge")]
        await until(lambda: collector.waiting)
        replies += [await world.call("charge") for _ in range(20)]
        assert {reply.status for reply in replies} == {200}
        assert len(collector.bodies) == 1
        collector.held.set()
        await world.span(replies[-1])
        # Three spans a call: the first batch was with the collector, and of the rest the newest were kept.
        assert len(collector.spans) <= BATCH + QUEUE
        collector.held = asyncio.Event()
        await world.call("charge")
        await until(lambda: collector.waiting)
        assert await gateway.stop() == 0


@pytest.mark.parametrize(
    ("environment", "sampled"),
    [({"OTEL_TRACES_SAMPLER": "always_off"}, False), ({"OTEL_TRACES_EXPORTER": "none"}, True)],
)
async def test_a_gateway_that_sends_no_traces_still_passes_on_none_but_its_own(
    tmp_path: Path,
    issuer: Issuer,
    backend: FakeBackend,
    collector: Collector,
    environment: Mapping[str, str],
    sampled: bool,
) -> None:
    async with traced(tmp_path, issuer, backend, collector, AT_ONCE | environment) as gateway:
        world = Traced(gateway, backend, collector, issuer.mint(tenant_id="tenant:a"))
        backend.received.clear()
        assert (await world.call("charge", {"traceparent": TRACEPARENT})).status == 200
        assert await gateway.stop() == 0
    _, trace, _, flags = backend.calls[0].message["params"]["_meta"]["traceparent"].split("-")
    assert (trace != THEIRS, bool(int(flags, 16) & SAMPLED)) == (True, sampled)
    assert collector.bodies == []
