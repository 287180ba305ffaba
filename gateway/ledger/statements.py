"""The ledger's transactions on one open SQLite connection: plain functions, each run inside `begin immediate`."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.ledger import rows

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from gateway.model import AuditEvent, Credential, LedgerMeta, Replica, ServerInventory, ToolRef, Withdrawal

META = "select epoch, revision, config_hash from meta"
WITHDRAWALS = """
    select server, tool, tenant, withdrawn_by, withdrawn_at from withdrawal
    order by server, tool, coalesce(tenant, '')"""
CREDENTIALS = """
    select id, hash, prefix, principal, name, role, tenant, created_at, created_by, expires_at, revoked_at, revoked_by
    from credential order by number"""
INVENTORY = "select server, digest, tools, updated_at from inventory order by server"
REPLICAS = "select name, token_hash, registered_at from replica order by name"
BUNDLES = "select name, digest, revision from bundle order by name"
AUDIT = "select seq, time, type, outcome, tenant, reason, body from audit where seq > ? order by seq limit ?"
NEWEST_AUDIT = "select coalesce(max(seq), 0) from audit"
PRUNE = "delete from audit where seq in (select seq from audit where time < ? limit ?)"
_ADD_CREDENTIAL = """
    insert into credential (id, hash, prefix, principal, name, role, tenant,
                            created_at, created_by, expires_at, revoked_at, revoked_by)
    values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_APPEND = "insert into audit (time, type, outcome, tenant, reason, body) values (?, ?, ?, ?, ?, ?)"


def renew_epoch(db: sqlite3.Connection) -> LedgerMeta:
    """Draw a new epoch and bump."""
    db.execute("update meta set epoch = ?", (secrets.token_hex(16),))
    _bump(db)
    return rows.meta(db.execute(META).fetchone())


def note_config(db: sqlite3.Connection, config_hash: str, event: AuditEvent | None) -> int:
    """Record the configuration's hash, and bump if it is a new one."""
    changed = db.execute("update meta set config_hash = ? where config_hash is not ?", (config_hash, config_hash))
    if event is not None:
        append_audit(db, (event,))
    return _bump(db) if changed.rowcount else _revision(db)


def withdraw(db: sqlite3.Connection, withdrawal: Withdrawal, event: AuditEvent) -> int:
    """Add a withdrawal; one that is there already stays as it is, and bumps nothing."""
    added = db.execute(
        "insert into withdrawal (server, tool, tenant, withdrawn_by, withdrawn_at) values (?, ?, ?, ?, ?)"
        " on conflict do nothing",
        (withdrawal.ref.server, withdrawal.ref.tool, withdrawal.tenant, withdrawal.by, withdrawal.at),
    )
    append_audit(db, (event,))
    return _bump(db) if added.rowcount else _revision(db)


def restore(
    db: sqlite3.Connection, ref: ToolRef, tenant: str | None, event: AuditEvent
) -> tuple[int, tuple[Withdrawal, ...]]:
    """Lift one tenant's withdrawal, or with None every one of the tool; what was lifted goes into the event."""
    found = db.execute(
        "delete from withdrawal where server = ? and tool = ? and (? is null or tenant = ?)"
        " returning server, tool, tenant, withdrawn_by, withdrawn_at",
        (ref.server, ref.tool, tenant, tenant),
    ).fetchall()
    lifted = tuple(sorted(map(rows.withdrawal, found), key=lambda one: one.tenant or ""))
    append_audit(db, (replace(event, target={**event.target, "lifted": [one.tenant for one in lifted]}),))
    return _bump(db) if lifted else _revision(db), lifted


def add_credential(db: sqlite3.Connection, credential: Credential, event: AuditEvent) -> int:
    """Store a credential and bump."""
    db.execute(_ADD_CREDENTIAL, rows.credential_row(credential))
    append_audit(db, (event,))
    return _bump(db)


def revoke_credential(db: sqlite3.Connection, credential_id: str, by: str, at: int, event: AuditEvent) -> int | None:
    """Revoke a credential that is neither revoked nor expired at `at`, and bump."""
    revoked = db.execute(
        "update credential set revoked_at = ?, revoked_by = ?"
        " where id = ? and revoked_at is null and (expires_at is null or expires_at > ?)",
        (at, by, credential_id, at),
    )
    if not revoked.rowcount:
        return None
    append_audit(db, (event,))
    return _bump(db)


def put_inventory(db: sqlite3.Connection, inventory: ServerInventory) -> int | None:
    """Keep an inventory, and bump if its digest or its names are new."""
    changed = db.execute(
        "insert into inventory (server, digest, tools, updated_at) values (?, ?, ?, ?)"
        " on conflict (server) do update set digest = excluded.digest, tools = excluded.tools,"
        " updated_at = excluded.updated_at where digest <> excluded.digest or tools <> excluded.tools",
        (inventory.server, inventory.digest, rows.tools_text(inventory.tools), inventory.updated_at),
    )
    return _bump(db) if changed.rowcount else None


def register_replica(db: sqlite3.Connection, replica: Replica) -> int:
    """Count a replica; bump if it, or its token, is new."""
    changed = db.execute(
        "insert into replica (name, token_hash, registered_at) values (?, ?, ?)"
        " on conflict (name) do update set token_hash = excluded.token_hash, registered_at = excluded.registered_at"
        " where token_hash <> excluded.token_hash",
        (replica.name, replica.token_hash, replica.registered_at),
    )
    return _bump(db) if changed.rowcount else _revision(db)


def forget_replica(db: sqlite3.Connection, name: str) -> int | None:
    """Take a replica out of the count and bump, if it was counted."""
    return _bump(db) if db.execute("delete from replica where name = ?", (name,)).rowcount else None


def note_bundle(db: sqlite3.Connection, name: str, digest: str, event: AuditEvent | None) -> int:
    """Return the revision of this content of a bundle; bump and record it if another one, or none, is recorded."""
    known = db.execute("select revision from bundle where name = ? and digest = ?", (name, digest)).fetchone()
    if known is not None:
        return int(known[0])
    revision = _bump(db)
    db.execute(
        "insert into bundle (name, digest, revision) values (?, ?, ?)"
        " on conflict (name) do update set digest = excluded.digest, revision = excluded.revision",
        (name, digest, revision),
    )
    if event is not None:
        append_audit(db, (event,))
    return revision


def append_audit(db: sqlite3.Connection, events: Sequence[AuditEvent]) -> None:
    """Append events in order."""
    db.executemany(_APPEND, [rows.audit_row(event) for event in events])


def _bump(db: sqlite3.Connection) -> int:
    db.execute("update meta set revision = revision + 1")
    return _revision(db)


def _revision(db: sqlite3.Connection) -> int:
    (revision,) = db.execute("select revision from meta").fetchone()
    return int(revision)
