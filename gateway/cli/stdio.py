"""`portcullis stdio`: serve one agent on this machine over stdin and stdout."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

import click
import uvloop

from gateway import background, logs
from gateway.app import running
from gateway.authn.local import local_agent
from gateway.cli.common import installation_options, told_to_stop, warn
from gateway.cli.private import private_home, state_for
from gateway.cli.up import put_in_force, require_folder
from gateway.config import known_tenants, load
from gateway.config.reloading import standing_of
from gateway.config.watch import Watcher, on_hangup
from gateway.endpoints.stdio import StdioAgent
from gateway.errors import ConfigError, Mistake, Unavailable
from gateway.ids import TENANT_ID, Mode
from gateway.standard_streams import Descriptors, StandardStreams
from gateway.state import StateDir

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config import Loaded, Source
    from gateway.operation import Gateway
    from gateway.sidecars import Home

VARIABLE = "STDIO_TENANT_ID"
NOBODY = "dev"
# How long a request waits for OPA and the servers after the start; then it is told what there is by then.
READY_SECONDS = 20.0


def _tenant(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str:
    found = value or os.environ.get(VARIABLE) or NOBODY
    if not TENANT_ID.fullmatch(found):
        raise click.BadParameter(f"{found!r} is not a tenant id (1 to 128 of A-Z a-z 0-9 . _ : -, no _ first)")
    return found


@click.command()
@installation_options
@click.option("--tenant", callback=_tenant, help=f"Whose agent this is; else {VARIABLE}, else {NOBODY}.")
def stdio(config_path: Source, state_dir: Path | None, tenant: str) -> None:
    """Serve one agent over stdin and stdout, for local clients. Not for production: nobody is authenticated."""
    descriptors = Descriptors.taken()
    loaded = _loaded(config_path, tenant)
    state = StateDir.open(state_dir or state_for(config_path))
    with private_home(state, loaded.config) as home:
        try:
            uvloop.run(_serve(loaded, home, tenant, descriptors))
        except asyncio.CancelledError:
            warn("stopped before everything in flight had finished")
            raise click.exceptions.Exit(130) from None


def _loaded(source: Source, tenant: str) -> Loaded:
    loaded = load(source)
    if loaded.config.auth.opa.url is not None:
        why = "names an OPA that others start, and portcullis stdio starts its own; give it a configuration without"
        raise ConfigError((Mistake(str(source), "auth.opa.url", None, why),))
    require_folder(loaded)
    warn(f"NOT FOR PRODUCTION: whoever can start this process is the tenant {tenant}, and nobody asks for a credential")
    if loaded.config.tool_access.mode is Mode.FRONT_DOOR and tenant not in known_tenants(loaded.config):
        warn(f"nothing in {source} knows the tenant {tenant}, so it will see nothing; name another with --tenant")
    for text in (*loaded.warnings, *(f"{standing_of(one)}: {why}" for one in loaded.kept_back for why in one.mistakes)):
        warn(text)
    logs.configure(loaded.config.logging)
    return loaded


async def _serve(loaded: Loaded, home: Home, tenant: str, descriptors: Descriptors) -> None:
    told, ready = told_to_stop(), asyncio.Event()
    streams = await StandardStreams.opened(descriptors)
    async with running(loaded, home, with_sync=True, listening=False) as gateway, AsyncExitStack() as stack:
        watcher = Watcher(lambda: gateway.loaded, lambda found: put_in_force(gateway, found))
        gateway.watched(watcher.reload)
        background.run(stack, watcher.run(), "watch the files")
        background.run(stack, _settle(gateway, ready), "wait for policy and servers")
        background.run(stack, _end_when(told, streams, asyncio.current_task()), "wait for a signal")
        agent = StdioAgent(
            gateway.rooms.gate,
            local_agent(tenant),
            current=lambda: gateway.live.value,
            ready=ready.wait,
            say=streams.say,
        )
        with on_hangup(watcher.trigger):
            await agent.converse(streams.chunks(), lambda: gateway.live.value.config.server.drain_seconds)


async def _settle(gateway: Gateway, ready: asyncio.Event) -> None:
    with suppress(TimeoutError, Unavailable):
        async with asyncio.timeout(READY_SECONDS):
            await gateway.settled()
    ready.set()


async def _end_when(told: asyncio.Event, streams: StandardStreams, main: asyncio.Task[None] | None) -> None:
    """Take no more requests once told to stop; a second signal ends what is under way, too."""
    await told.wait()
    assert main is not None
    for one in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(one, main.cancel)
    streams.end()
