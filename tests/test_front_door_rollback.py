"""A signed bundle of last week is signed as well as today's: what was rolled back is not decided by (A33)."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.conftest import TOOLS
from tests.support.backend import FakeBackend, tool
from tests.support.gateway import Portcullis, front_door
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.issuer import Issuer


def tenants_revision(seen: Path) -> int:
    return int(json.loads(seen.read_text())["revisions"]["tenants"])


@pytest.fixture
async def narrowed(tmp_path: Path, issuer: Issuer) -> AsyncIterator[tuple[Portcullis, bytes]]:
    """A gateway whose server has given up a tool since, and the bundle from before."""
    async with FakeBackend(definitions=[tool(name) for name in TOOLS]).serve() as server:
        config = front_door(server.url, issuer.url, opa={"deadline_ms": 2000})
        async with Portcullis(tmp_path, config) as gateway:
            token = issuer.mint(tenant_id="tenant:b")
            assert await gateway.tools(token) == ["charge", "refund"]
            kept = gateway.state / "opa" / "bundles" / "tenants" / "bundle.tar.gz"
            await until(kept.exists)
            before = kept.read_bytes()
            seen = gateway.state / "bundles.json"
            await until(seen.exists)
            first = tenants_revision(seen)
            server.definitions = [tool(name) for name in TOOLS if name != "refund"]
            gateway.process.send_signal(signal.SIGHUP)

            async def narrower() -> bool:
                return await gateway.tools(token) == ["charge"]

            await until(narrower, 20)
            await until(lambda: tenants_revision(seen) > first)
            yield gateway, before


async def test_an_older_tenants_bundle_admits_nothing_after_a_restart_without_sync(
    narrowed: tuple[Portcullis, bytes], issuer: Issuer
) -> None:
    gateway, before = narrowed
    await gateway.kill()
    (gateway.state / "opa" / "bundles" / "tenants" / "bundle.tar.gz").write_bytes(before)
    config = {**gateway.config, "sync": {"url": "http://127.0.0.1:9"}}
    gateway.write_config(config)
    gateway.command, gateway.wait_ready = "serve", False
    await gateway.start()
    await until(lambda: "rolled back: tenants is r" in gateway.log, 20)
    await gateway.stop()


async def test_after_a_restart_of_opa_its_bundles_are_looked_at_before_anything_is_decided(
    narrowed: tuple[Portcullis, bytes], issuer: Issuer
) -> None:
    gateway, _ = narrowed
    token = issuer.mint(tenant_id="tenant:b")
    os.kill(gateway.child("opa"), signal.SIGKILL)

    async def decided() -> bool:
        reply = await gateway.rpc("tools/list", token=token)
        assert reply.status == 503 or [tool["name"] for tool in reply.json["result"]["tools"]] == ["charge"]
        return reply.status == 200

    await until(decided, 20)
