"""`portcullis replica`: which gateways count when a mutation waits for everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gateway.cli.common import (
    installation_options,
    json_option,
    ledger_of,
    moment,
    print_json,
    print_table,
    run,
)
from gateway.cli.local import ask_sync
from gateway.errors import GatewayError, NotFound, Unavailable
from gateway.state import StateDir

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config import Config
    from gateway.model import Replica

# OPA asks again at once after an answer, and within two seconds after an error.
SILENT_SECONDS = 10.0


class MayBeAlive(GatewayError):
    """A replica that runs would be taken out of the count, or nobody knows that it does not."""


@click.group()
def replica() -> None:
    """Gateways that count for acknowledgements: list, forget."""


@replica.command("list")
@installation_options
@json_option
def list_(config_path: Path, state_dir: Path | None, as_json: bool) -> None:
    """List the counted replicas."""
    found = run(_replicas(config_path, state_dir))
    if as_json:
        print_json([{"name": one.name, "registered_at": one.registered_at} for one in found])
        return
    print_table(("name", "registered"), [(one.name, moment(one.registered_at)) for one in found], empty="no replicas")


@replica.command()
@installation_options
@click.option("--force", is_flag=True, help="Forget it although it is alive, or nobody knows whether it is.")
@json_option
@click.argument("name")
def forget(config_path: Path, state_dir: Path | None, force: bool, as_json: bool, name: str) -> None:
    """Take a replica that is gone for good out of the count. One that runs counts itself again within a second."""
    revision = run(_forget(config_path, state_dir, name, force=force))
    if as_json:
        print_json({"forgotten": True, "name": name, "revision": revision})
    else:
        click.echo(f"forgot {name} (r{revision})")


async def _replicas(config_path: Path, state_dir: Path | None) -> tuple[Replica, ...]:
    async with ledger_of(config_path, state_dir) as (ledger, _):
        return await ledger.replicas()


async def _forget(config_path: Path, state_dir: Path | None, name: str, *, force: bool) -> int:
    async with ledger_of(config_path, state_dir) as (ledger, loaded):
        found = next((one for one in await ledger.replicas() if one.name == name), None)
        if found is None:
            raise NotFound(f"there is no replica {name}; see portcullis replica list")
        if not force:
            await _require_silent(found, loaded.config if loaded else None, StateDir.open(state_dir))
        return await ledger.forget_replica(name) or (await ledger.meta()).revision


async def _require_silent(one: Replica, config: Config | None, state: StateDir) -> None:
    """Raise MayBeAlive unless sync knows the replica and has not heard of it for a while."""
    anyway = "--force forgets it all the same"
    try:
        (answer,) = await ask_sync(config, state, "/replicas")
    except Unavailable as error:
        since = f"it is registered since {moment(one.registered_at)}"
        raise MayBeAlive(f"{error}, so nobody knows whether {one.name} is alive; {since}; {anyway}") from error
    row = next((row for row in answer["replicas"] if row["name"] == one.name), None)
    if row is None:
        raise MayBeAlive(f"sync does not know {one.name}, so it follows another ledger; {anyway}")
    if row["polling"]:
        raise MayBeAlive(f"{one.name} is alive: its OPA waits for news; stop it, and it is forgotten; {anyway}")
    if row["silent_seconds"] < SILENT_SECONDS:
        ago = f"{row['silent_seconds']:.0f} s ago"
        raise MayBeAlive(f"{one.name} may be alive: sync heard of it, or was started, {ago}; try again, or {anyway}")
