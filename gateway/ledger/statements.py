"""Transactions on where the ledger stands, on withdrawals, inventories, bundles, and replicas with what they have."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.ledger import rows, trail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.facts import Acknowledgement, LedgerMeta, Replica, ServerInventory
    from gateway.ids import Ref
    from gateway.ledger.trail import Pen
    from gateway.ledger.transaction import Transaction
    from gateway.model import AuditEvent, Withdrawal

FIRST_REVISION = 1
META = "select epoch, revision, config_hash from meta"
WITHDRAWALS = """
    select server, kind, name, tenant, withdrawn_by, withdrawn_at from withdrawal
    order by server, kind, name, coalesce(tenant, '')"""
INVENTORY = "select server, digest, tools, others, updated_at from inventory order by server"
REPLICAS = "select name, token_hash, registered_at from replica order by name"
ACKNOWLEDGEMENTS = (
    "select replica, token_hash, sync, epoch, revision, lacking, at from acknowledgement order by replica"
)
_ACKNOWLEDGE = """
    insert into acknowledgement (replica, token_hash, sync, epoch, revision, lacking, at)
    select name, token_hash, cast(? as text), cast(? as text), cast(? as bigint), cast(? as text), cast(? as bigint)
    from replica where name = ? and token_hash = ?
    on conflict (replica) do update set token_hash = excluded.token_hash, sync = excluded.sync,
    epoch = excluded.epoch, revision = excluded.revision, lacking = excluded.lacking, at = excluded.at"""
BUNDLES = "select name, digest, revision from bundle order by name"
_BUMP = "update meta set revision = revision + 1 returning revision"


def new_epoch() -> str:
    """Return a name for an epoch that no ledger has had."""
    return secrets.token_hex(16)


async def only_one(tx: Transaction) -> int:
    """Wait until no other mutation is under way, keep others waiting, and return the revision."""
    ((revision,),) = await tx.locked("select revision from meta")
    return int(revision)


async def bump(tx: Transaction) -> int:
    """Take the next revision and return it."""
    ((revision,),) = await tx.fetch(_BUMP)
    await tx.tell(revision)
    return int(revision)


async def renew_epoch(tx: Transaction, seen: str) -> LedgerMeta:
    """Draw a new epoch and bump, unless the epoch is another than the one seen: then somebody else was first."""
    (found,) = await tx.fetch(META)
    if rows.meta(found).epoch == seen:
        await tx.execute("update meta set epoch = ?", new_epoch())
        await bump(tx)
    (now,) = await tx.fetch(META)
    return rows.meta(now)


async def note_config(tx: Transaction, pen: Pen, config_hash: str, event: AuditEvent | None) -> int:
    """Record the configuration's hash, and bump if it is a new one."""
    sql = "update meta set config_hash = ? where coalesce(config_hash, '') <> ?"
    changed = await tx.execute(sql, config_hash, config_hash)
    revision = await _bumped(tx, changed)
    if event is not None:
        await trail.append(tx, pen, (event,))
    return revision


async def withdraw(tx: Transaction, pen: Pen, withdrawal: Withdrawal, event: AuditEvent) -> int:
    """Add a withdrawal; one that is there already stays as it is, and bumps nothing."""
    added = await tx.execute(
        "insert into withdrawal (server, kind, name, tenant, withdrawn_by, withdrawn_at) values (?, ?, ?, ?, ?, ?)"
        " on conflict do nothing",
        *(withdrawal.ref.server, withdrawal.ref.kind.value, withdrawal.ref.name),
        *(withdrawal.tenant, withdrawal.by, withdrawal.at),
    )
    revision = await _bumped(tx, added)
    await trail.append(tx, pen, (event,))
    return revision


async def restore(
    tx: Transaction, pen: Pen, ref: Ref, tenant: str | None, event: AuditEvent
) -> tuple[int, tuple[Withdrawal, ...]]:
    """Lift one tenant's withdrawal, or with None every one of the tool; what was lifted goes into the event."""
    found = await tx.fetch(
        "delete from withdrawal where server = ? and kind = ? and name = ? and (cast(? as text) is null or tenant = ?)"
        " returning server, kind, name, tenant, withdrawn_by, withdrawn_at",
        *(ref.server, ref.kind.value, ref.name, tenant, tenant),
    )
    lifted = tuple(sorted(map(rows.withdrawal, found), key=lambda one: one.tenant or ""))
    revision = await _bumped(tx, len(lifted))
    told = replace(event, target={**event.target, "lifted": [one.tenant for one in lifted]})
    await trail.append(tx, pen, (told,))
    return revision, lifted


async def put_inventory(tx: Transaction, inventory: ServerInventory) -> int | None:
    """Keep an inventory, and bump if its digest or its names are new."""
    changed = await tx.execute(
        "insert into inventory (server, digest, tools, others, updated_at) values (?, ?, ?, ?, ?)"
        " on conflict (server) do update set digest = excluded.digest, tools = excluded.tools,"
        " others = excluded.others, updated_at = excluded.updated_at"
        " where (inventory.digest, inventory.tools, inventory.others) <>"
        " (excluded.digest, excluded.tools, excluded.others)",
        *(inventory.server, inventory.digest, rows.names_text(inventory.tools), rows.others_text(inventory)),
        inventory.updated_at,
    )
    return await bump(tx) if changed else None


async def register_replica(tx: Transaction, replica: Replica) -> int:
    """Count a replica; bump if it, or its token, is new."""
    changed = await tx.execute(
        "insert into replica (name, token_hash, registered_at) values (?, ?, ?)"
        " on conflict (name) do update set token_hash = excluded.token_hash, registered_at = excluded.registered_at"
        " where replica.token_hash <> excluded.token_hash",
        *(replica.name, replica.token_hash, replica.registered_at),
    )
    return await _bumped(tx, changed)


async def forget_replica(tx: Transaction, name: str) -> int | None:
    """Take a replica out of the count and bump, if it was counted."""
    await tx.execute("delete from acknowledgement where replica = ?", name)
    return await bump(tx) if await tx.execute("delete from replica where name = ?", name) else None


async def acknowledge(tx: Transaction, found: Sequence[Acknowledgement], *, news: bool) -> None:
    """Keep what counted replicas have applied; of no revision, so that no mutation waits for it."""
    # In one order, so that two processes that keep the same ones do not wait for each other.
    await tx.each(_ACKNOWLEDGE, [rows.acknowledgement_row(one) for one in sorted(found, key=lambda one: one.replica)])
    if news:
        await tx.tell(max(one.revision for one in found))


async def note_bundle(tx: Transaction, pen: Pen, name: str, digest: str, event: AuditEvent | None) -> int:
    """Return the revision of this content of a bundle; bump and record it if another one, or none, is recorded."""
    known = await tx.fetch("select revision from bundle where name = ? and digest = ?", name, digest)
    if known:
        return int(known[0][0])
    revision = await bump(tx)
    await tx.execute(
        "insert into bundle (name, digest, revision) values (?, ?, ?)"
        " on conflict (name) do update set digest = excluded.digest, revision = excluded.revision",
        *(name, digest, revision),
    )
    if event is not None:
        await trail.append(tx, pen, (event,))
    return revision


async def _bumped(tx: Transaction, changed: int) -> int:
    """Return the revision that says what was done: the next one if that changed anything."""
    return await bump(tx) if changed else await only_one(tx)
