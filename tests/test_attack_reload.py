"""What can keep an edit that takes rights away from being in force."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from gateway.config import Loaded, load
from gateway.config.watch import Watcher
from gateway.errors import ConfigError, Unavailable
from tests.support.backend import FakeBackend
from tests.support.files import written
from tests.support.gateway import Portcullis, front_door, payments
from tests.support.wait import until

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp import web

    from tests.support.issuer import Issuer


async def test_a_server_that_never_answers_does_not_keep_a_retired_audience_good(
    tmp_path: Path, backend: FakeBackend, issuer: Issuer
) -> None:
    silent = asyncio.Event()
    silent.set()

    async def hang(_request: web.Request, _message: Any) -> None:
        await silent.wait()

    token, other = issuer.mint(), issuer.mint(aud="another")
    async with FakeBackend(misbehave=hang).serve() as hostile:
        config = front_door(f"http://127.0.0.1:{backend.port}/mcp", issuer.url)
        config["mcp_servers"]["hostile"] = payments(hostile.url, tool_access={"member": {"tenant:z": {}}})
        async with Portcullis(tmp_path, config) as gateway:
            assert await gateway.tools(token) == ["charge"]
            silent.clear()
            config["auth"]["oidc"]["audience"] = "another"
            gateway.write_config(config)

            async def refused() -> bool:
                return (await gateway.rpc("tools/list", token=token)).status == 401

            await until(refused, what="the audience that is configured no longer is refused")
            assert await gateway.tools(other) == ["charge"]
            silent.set()


async def test_a_configuration_that_could_not_be_put_in_force_is_tried_again(tmp_path: Path) -> None:
    path = written(tmp_path, "logging: {level: info}\n")
    in_force = load(path)
    attempts: list[Loaded | ConfigError] = []

    async def deliver(outcome: Loaded | ConfigError) -> None:
        nonlocal in_force
        attempts.append(outcome)
        if len(attempts) < 3:
            raise Unavailable("the ledger is locked")
        assert isinstance(outcome, Loaded)
        in_force = outcome

    watching = asyncio.create_task(Watcher(lambda: in_force, deliver, poll_seconds=0.05).run())
    try:
        path.write_text("opa: {deadline_ms: 100}\nlogging: {level: info}\n")
        await until(lambda: in_force.config.opa.deadline_ms == 100, what="the edit is in force")
        assert len(attempts) == 3
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
