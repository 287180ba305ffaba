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
from gateway.errors import NotFound

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.model import Replica


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
@json_option
@click.argument("name")
def forget(config_path: Path, state_dir: Path | None, as_json: bool, name: str) -> None:
    """Take a replica that is gone for good out of the count. It counts again when it next starts."""
    revision = run(_forget(config_path, state_dir, name))
    if as_json:
        print_json({"forgotten": True, "name": name, "revision": revision})
    else:
        click.echo(f"forgot {name} (r{revision})")


async def _replicas(config_path: Path, state_dir: Path | None) -> tuple[Replica, ...]:
    async with ledger_of(config_path, state_dir) as (ledger, _):
        return await ledger.replicas()


async def _forget(config_path: Path, state_dir: Path | None, name: str) -> int:
    async with ledger_of(config_path, state_dir) as (ledger, _):
        revision = await ledger.forget_replica(name)
    if revision is None:
        raise NotFound(f"there is no replica {name}; see portcullis replica list")
    return revision
