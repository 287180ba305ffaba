"""`portcullis up` and `portcullis serve`: run the gateway until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
from typing import TYPE_CHECKING

import click
import uvloop

from gateway import background, logs
from gateway.app import running
from gateway.audit_file import unwritable
from gateway.cli.common import counted, installation_options, together, told_to_stop, warn
from gateway.config import Loaded, exposed, known_tenants, load
from gateway.config.reloading import report, standing_of
from gateway.config.watch import Watcher, on_hangup
from gateway.endpoints.tls import tls_context
from gateway.errors import ConfigError, Mistake
from gateway.sidecars import Home
from gateway.state import StateDir

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config import Source
    from gateway.operation import Gateway

LOG = logging.getLogger("portcullis.gateway")
# A request leaves hardly a cycle behind; Python's own 700 has it look for them after every other request.
OBJECTS_BETWEEN_LOOKS = 5_000


listener_options = together(
    installation_options,
    click.option("--host", help="Instead of server.host."),
    click.option("--port", type=click.IntRange(0, 65535), help="Instead of server.port."),
    click.option("--insecure", is_flag=True, help="Listen beyond this machine although authentication is off."),
)


@click.command()
@listener_options
def up(config_path: Source, state_dir: Path | None, host: str | None, port: int | None, insecure: bool) -> None:
    """Run everything on this machine: gateway, OPA and sync. The latter two are the gateway's children."""
    state = StateDir.open(state_dir)
    with state.lock():
        loaded = _loaded(config_path, host, port, insecure=insecure)
        require_folder(loaded)
        _run(loaded, state, with_sync=True)


@click.command()
@listener_options
def serve(config_path: Source, state_dir: Path | None, host: str | None, port: int | None, insecure: bool) -> None:
    """Run the gateway alone. Sync is at sync.url, OPA a child or at auth.opa.url."""
    _run(_loaded(config_path, host, port, insecure=insecure), StateDir.open(state_dir), with_sync=False)


def _loaded(source: Source, host: str | None, port: int | None, *, insecure: bool) -> Loaded:
    loaded = load(source).with_server(host, port)
    danger = exposed(loaded.config)
    if danger and not insecure:
        raise ConfigError((Mistake(str(source), "auth.enabled", None, danger),))
    if danger:
        warn(danger)
    _require_files(loaded)
    for text in loaded.warnings:
        warn(text)
    for one in loaded.kept_back:
        for mistake in one.mistakes:
            warn(f"{standing_of(one)}: {mistake}")
    logs.configure(loaded.config.logging)
    return loaded


def _require_files(loaded: Loaded) -> None:
    """Refuse files that would fail only once everything runs."""
    tls_context(loaded.config)
    file = loaded.config.audit.file
    if file is not None and (why := unwritable(file)) is not None:
        raise ConfigError((Mistake(str(loaded.path), "audit.file", None, f"{file} cannot be written: {why}"),))


def require_folder(loaded: Loaded) -> None:
    """Refuse a folder of custom policy that is not there: sync would try for ever."""
    folder = loaded.config.opa.custom_policies
    if folder is not None and not folder.is_dir():
        why = f"{folder} is not a folder; make it, or remove the key"
        raise ConfigError((Mistake(str(loaded.path), "opa.custom_policies", None, why),))


def _run(loaded: Loaded, state: StateDir, *, with_sync: bool) -> None:
    try:
        uvloop.run(_until_told(loaded, state, with_sync=with_sync))
    except asyncio.CancelledError:
        warn("stopped before everything in flight had finished")
        raise click.exceptions.Exit(130) from None


async def _until_told(loaded: Loaded, state: StateDir, *, with_sync: bool) -> None:
    told = told_to_stop()
    async with running(loaded, Home.of(loaded.config, state), with_sync=with_sync) as gateway:
        _settle()
        watcher = Watcher(lambda: gateway.loaded, lambda found: put_in_force(gateway, found))
        gateway.watched(watcher.reload)
        tasks = [asyncio.create_task(_announce(gateway)), asyncio.create_task(watcher.run())]
        for task in tasks:
            task.add_done_callback(background.report)
        with on_hangup(watcher.trigger):
            await told.wait()
        # A second Ctrl-C ends the draining.
        main = asyncio.current_task()
        assert main is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, main.cancel)
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def _settle() -> None:
    """Leave what the start has made out of Python's later looks for cycles, and have it look less often.

    A look at everything stops all requests for 15 ms, or longer where there are many tenants, and finds nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_LOOKS, *gc.get_threshold()[1:])


async def _announce(gateway: Gateway) -> None:
    """Print one line when ready."""
    await gateway.settled()
    config = gateway.loaded.config
    listings = gateway.rooms.inventory.listings
    tools = sum(listing.tools for listing in listings.values())
    down = [name for name, listing in listings.items() if listing.failure]
    meta = await gateway.ledger.meta()
    parts = [
        f"{config.tool_access.mode} at {gateway.address}",
        f"OPA {gateway.sidecars.opa_version}",
        f"r{meta.revision}",
        f"{counted(len(listings), 'server')}, {counted(tools, 'tool')}"
        + (f" ({', '.join(down)} not reached)" if down else ""),
        counted(len(known_tenants(config)), "member"),
    ]
    click.echo(f"portcullis is ready: {' · '.join(parts)}")


async def put_in_force(gateway: Gateway, found: Loaded | ConfigError) -> None:
    """Put a new configuration in force; a bad one is logged whole, and the old one stays."""
    if isinstance(found, ConfigError):
        for mistake in found.mistakes:
            LOG.error("the configuration is refused, the old one stays: %s", mistake)
        return
    before = gateway.loaded
    report(before.kept_back, found.kept_back)
    if found.kept_back != before.kept_back and found.config == before.config:
        # A catalog that is not taken changes nothing; nobody's servers are listed again for it.
        gateway.loaded = found
    else:
        await gateway.reload(found)
