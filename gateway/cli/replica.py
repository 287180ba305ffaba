"""`portcullis replica`: which gateways count when a mutation waits for everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gateway.cli.common import moment
from gateway.cli.desk import Desk, at_the_desk
from gateway.cli.local import ask_sync
from gateway.errors import GatewayError, NotFound, Unavailable
from gateway.state import StateDir

if TYPE_CHECKING:
    from gateway.config import Config, Loaded
    from gateway.facts import Replica
    from gateway.ledger import Ledger

# OPA asks again at once after an answer, and within two seconds after an error.
SILENT_SECONDS = 10.0


class MayBeAlive(GatewayError):
    """A replica that runs would be taken out of the count, or nobody knows that it does not."""


@click.group()
def replica() -> None:
    """Gateways that count for acknowledgements: list, forget."""


@replica.command("list")
@at_the_desk
def list_(desk: Desk) -> None:
    """List the counted replicas."""
    found = desk.look(lambda ledger: ledger.replicas())
    documents = ({"name": one.name, "registered_at": one.registered_at} for one in found)
    rows = ((one.name, moment(one.registered_at)) for one in found)
    desk.show(("name", "registered"), rows, documents, empty="no replicas")


@replica.command()
@at_the_desk
@click.option("--force", is_flag=True, help="Forget it although it is alive, or nobody knows whether it is.")
@click.argument("name")
def forget(desk: Desk, force: bool, name: str) -> None:
    """Take a replica that is gone for good out of the count. One that runs counts itself again within a second."""

    async def forgotten(ledger: Ledger, loaded: Loaded | None) -> int:
        found = next((one for one in await ledger.replicas() if one.name == name), None)
        if found is None:
            raise NotFound(f"there is no replica {name}; see portcullis replica list")
        if not force:
            await _require_silent(found, loaded.config if loaded else None, StateDir.open(desk.state_dir))
        return await ledger.forget_replica(name) or (await ledger.meta()).revision

    revision = desk.work(forgotten)
    desk.say(f"forgot {name} (r{revision})", {"forgotten": True, "name": name, "revision": revision})


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
