"""What `doctor` learns of an OPA on TCP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from gateway.pdp import opa_binary
from gateway.pdp.diagnostics import OpaHealth, health_of
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@contextlib.asynccontextmanager
async def opa_on_tcp(folder: Path, config: dict[str, Any]) -> AsyncIterator[str]:
    file = folder / "opa.json"
    file.write_text(json.dumps(config))
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        opa_binary.find().path, "run", "--server", "--addr", f"127.0.0.1:{port}", "--config-file", file,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


async def alive(url: str) -> OpaHealth | None:
    health = await health_of(url)
    return None if "does not say" in health.text else health


async def test_a_healthy_opa_is_called_so(tmp_path: Path):
    async with opa_on_tcp(tmp_path, {}) as url:
        health = await until(lambda: alive(url))
    assert health == OpaHealth(ok=True, text=f"{url} is healthy, all of its bundles are active")


async def test_an_opa_whose_sync_is_away_names_the_bundle_that_is_missing(tmp_path: Path):
    nowhere = f"http://127.0.0.1:{free_port()}"
    config = {
        "services": {"sync": {"url": nowhere}},
        "bundles": {"live": {"service": "sync"}},
        "status": {"service": "sync"},
    }
    async with opa_on_tcp(tmp_path, config) as url:

        async def complaining() -> OpaHealth | None:
            health = await health_of(url)
            return health if "refused" in health.text else None

        health = await until(complaining)
    assert not health.ok
    assert health.text.startswith(f"{url} answers, and is not ready: bundle live is not active (")


async def test_an_opa_that_is_not_there_is_not_healthy():
    url = f"http://127.0.0.1:{free_port()}"
    assert await health_of(url) == OpaHealth(ok=False, text=f"{url} does not say that it is healthy")


@pytest.mark.parametrize("url", ["unix:///run/opa.sock", "opa", "ftp://opa"])
async def test_only_an_address_on_tcp_can_be_asked(url: str):
    with pytest.raises(ValueError, match="not an address"):
        await health_of(url)
