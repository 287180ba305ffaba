"""`portcullis doctor` beside a sync service that has just been started."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from bundles.custom import CustomPolicy
from gateway.cli import main
from gateway.errors import ConfigError, Mistake
from tests.support.sync import Sync

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from gateway.config import Config

SERVERS = "mcp_servers: {payments: {mode: remote, endpoint: 'http://127.0.0.1:9/mcp'}}\n"


async def found(sync: Sync) -> list[Any]:
    """Return what doctor finds of sync."""
    (sync.folder / "sync.token").write_text(sync.control)
    config = sync.folder / "operator.yaml"
    config.write_text(f"{SERVERS}sync: {{url: '{sync.url}'}}\nstorage: {{url: '{sync.ledger_url}'}}\n")
    where = ("--config", str(config), "--state-dir", str(sync.folder), "--json")
    done = await asyncio.to_thread(CliRunner().invoke, main, ["doctor", *where])
    return [(one["level"], one["text"]) for one in json.loads(done.stdout)["findings"] if one["part"] == "sync"]


@pytest.fixture
async def restarted(tmp_path: Path) -> AsyncIterator[Callable[[Callable[[Config], Awaitable[CustomPolicy]]], Any]]:
    """Start sync again where custom policy is read in another way."""
    async with Sync(tmp_path, SERVERS) as sync:

        async def restart(load_custom: Callable[[Config], Awaitable[CustomPolicy]]) -> Sync:
            await sync.stop()
            sync.load_custom = load_custom
            await sync.start(ready=False)
            return sync

        yield restart


async def test_a_sync_that_reads_its_files_yet_is_starting_and_no_error(restarted: Any) -> None:
    go_on = asyncio.Event()

    async def reading(_: Config) -> CustomPolicy:
        await go_on.wait()
        return CustomPolicy()

    sync = await restarted(reading)
    (starting, *_) = await found(sync)
    assert starting == ("warning", "it is starting: not all that OPA decides on is served yet")
    go_on.set()


async def test_a_mistake_that_is_found_at_the_start_is_an_error_that_names_it(restarted: Any) -> None:
    async def refused(_: Config) -> CustomPolicy:
        raise ConfigError((Mistake("rules/never.rego", "custom.never", 5, "did you mean `deny`?"),))

    sync = await restarted(refused)
    assert [text for level, text in await found(sync) if level == "error" and "did you mean `deny`?" in text]
