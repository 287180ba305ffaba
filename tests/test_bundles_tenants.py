"""Building the tenants' bundle in the background: what comes too late is thrown away."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from bundles.publisher import Publisher
from bundles.record import Recorded
from bundles.replicas import Replicas
from bundles.signing import SigningKey
from bundles.snapshot import Facts
from bundles.tenants import Job, TenantsBuilder
from gateway.config import load
from gateway.facts import LedgerMeta
from tests.support.sync import FRONT_DOOR
from tests.support.wait import until

if TYPE_CHECKING:
    from pathlib import Path

    from bundles.bundle import Content


async def recorded(content: Content) -> Recorded:
    """Record nothing."""
    return Recorded(content, content.digest(), 1)


async def test_a_build_for_a_ledger_that_was_replaced_meanwhile_is_not_served(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(FRONT_DOOR)
    loaded = load(tmp_path / "config.yaml")
    publisher = Publisher(SigningKey.generate(), "boot", Replicas(time.monotonic, "boot"))
    built: list[str | None] = []
    builder = TenantsBuilder(publisher, recorded, lambda _, why: built.append(why))

    def job(epoch: str) -> Job:
        publisher.begin(epoch)
        return Job(loaded, Facts(LedgerMeta(epoch, 1, None), (), (), (), (), ()), publisher.claim("tenants", 1))

    builder.want(job("old"))
    later = job("new")
    running = asyncio.create_task(builder.run())
    await until(lambda: len(built) == 1)
    assert publisher.sequence("tenants") == 0
    builder.want(later)
    await until(lambda: publisher.sequence("tenants") == 1)
    assert built == [None, None]
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
