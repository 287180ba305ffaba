"""Transactions on keys, tenant tokens and role bindings, and the invariant over both: an admin is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import LastAdmin
from gateway.ledger import rows, trail
from gateway.ledger.chain import column
from gateway.ledger.statements import bump, only_one

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.ledger.trail import Pen
    from gateway.ledger.transaction import Row, Transaction
    from gateway.ledger.values import Admins, Binding
    from gateway.model import AuditEvent, Credential

_COLUMNS = """id, hash, prefix, principal, name, role, tenant, created_at, created_by, expires_at, revoked_at,
    revoked_by, kind, tools, last_used_at, replaced_by"""
CREDENTIALS = f"select {_COLUMNS} from credential order by number"  # noqa: S608
# In the order of the index on revisions, which another order would make SQLite leave aside and read the whole table.
CHANGED = f"select {_COLUMNS} from credential where revision > ? order by revision, number"  # noqa: S608
CREDENTIAL = f"select {_COLUMNS} from credential where id = ?"  # noqa: S608
BINDINGS = """
    select principal, role, scope, issuer, assigned_by, assigned_at, revoked_at, revoked_by from binding
    order by principal, role, scope, issuer"""
_ADD = f"""
    insert into credential ({_COLUMNS}, revision)
    values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""  # noqa: S608
_LIVE = "revoked_at is null and (expires_at is null or expires_at > ?)"
# A replaced key does not count: it lives for the time of its overlap only.
_ADMIN_KEYS = f"""
    select role, count(*) from credential
    where tenant is null and role is not null and replaced_by is null and {_LIVE} group by role"""  # noqa: S608
# A service that has no key that is good everywhere is nobody; whether there is a person only its issuer knows.
_ADMIN_BINDINGS = f"""
    select role, count(*) from binding
    where scope = 'global' and revoked_at is null and (substr(principal, 1, 8) <> 'service:' or principal in
        (select principal from credential where tenant is null and replaced_by is null and {_LIVE}))
    group by role"""  # noqa: S608


def page_of(after: str | None, limit: int, wanted: Mapping[str, str | None]) -> tuple[str, Row]:
    """Return the statement and values for a page of credentials, oldest first, that follow the one with id `after`.

    An id that is not among what is looked for begins anew, so that a cursor of somebody else's tells nothing.
    """
    given = {column: value for column, value in wanted.items() if value is not None}
    where = "".join(f" and {column} = ?" for column in given)
    values = tuple(given.values())
    cursor = f"coalesce((select number from credential where id = ?{where}), 0)"  # noqa: S608
    sql = f"select {_COLUMNS} from credential where number > {cursor}{where} order by number limit ?"  # noqa: S608
    return sql, (column(after or ""), *values, *values, limit)


async def add_credential(tx: Transaction, pen: Pen, credential: Credential, event: AuditEvent) -> int:
    """Store a credential and bump."""
    revision = await bump(tx)
    await tx.execute(_ADD, *rows.credential_row(credential), revision)
    await trail.append(tx, pen, (event,))
    return revision


async def revoke_credential(
    tx: Transaction, pen: Pen, credential_id: str, by: str, at: int, event: AuditEvent, admins: Admins
) -> int | None:
    """Revoke a credential that is neither revoked nor expired at `at`, and bump; raises LastAdmin."""
    before = await _live_admins(tx, at, admins)
    sql = f"update credential set revoked_at = ?, revoked_by = ? where id = ? and {_LIVE}"  # noqa: S608
    if not await tx.execute(sql, at, by, credential_id, at):
        return None
    await _require_admin(tx, at, admins, before)
    return await _changed(tx, pen, credential_id, event)


async def rotate_credential(
    tx: Transaction, pen: Pen, credential_id: str, new: Credential, overlap_until: int, event: AuditEvent
) -> int | None:
    """Store the successor of a live credential, which ends at `overlap_until` or earlier, and bump."""
    sql = f"""
        update credential set replaced_by = ?,
            expires_at = case when expires_at < ? then expires_at else cast(? as bigint) end
        where id = ? and kind = ? and replaced_by is null and {_LIVE}"""  # noqa: S608
    values = (new.id, overlap_until, overlap_until, credential_id, new.kind.value, new.created_at)
    if not await tx.execute(sql, *values):
        return None
    revision = await _mark(tx, credential_id)
    await tx.execute(_ADD, *rows.credential_row(new), revision)
    await trail.append(tx, pen, (event,))
    return revision


async def touch_credentials(tx: Transaction, used: Mapping[str, int]) -> None:
    """Note when credentials were last used; never backwards, and of no revision."""
    # In one order, so that two processes that note the same ones do not wait for each other.
    sql = "update credential set last_used_at = ? where id = ? and coalesce(last_used_at, 0) < ?"
    await tx.each(sql, [(at, id_, at) for id_, at in sorted(used.items())])


async def assign_role(tx: Transaction, pen: Pen, binding: Binding, event: AuditEvent) -> int:
    """Add a binding, or revive a revoked one, and bump; one that is in force stays as it is."""
    changed = await tx.execute(
        "insert into binding (principal, role, scope, issuer, assigned_by, assigned_at) values (?, ?, ?, ?, ?, ?)"
        " on conflict (principal, role, scope, issuer) do update set assigned_by = excluded.assigned_by,"
        " assigned_at = excluded.assigned_at, revoked_at = null, revoked_by = null"
        " where binding.revoked_at is not null",
        *(binding.principal, binding.role, binding.scope, binding.issuer or "", binding.by, binding.at),
    )
    revision = await bump(tx) if changed else await only_one(tx)
    await trail.append(tx, pen, (event,))
    return revision


async def revoke_role(tx: Transaction, pen: Pen, binding: Binding, event: AuditEvent, admins: Admins) -> int | None:
    """Make a tombstone of a binding that is in force, by and at what `binding` says, and bump; raises LastAdmin."""
    before = await _live_admins(tx, binding.at, admins)
    revoked = await tx.execute(
        "update binding set revoked_at = ?, revoked_by = ?"
        " where principal = ? and role = ? and scope = ? and issuer = ? and revoked_at is null",
        *(binding.at, binding.by, binding.principal, binding.role, binding.scope, binding.issuer or ""),
    )
    if not revoked:
        return None
    await _require_admin(tx, binding.at, admins, before)
    revision = await bump(tx)
    await trail.append(tx, pen, (event,))
    return revision


async def _changed(tx: Transaction, pen: Pen, credential_id: str, event: AuditEvent) -> int:
    revision = await _mark(tx, credential_id)
    await trail.append(tx, pen, (event,))
    return revision


async def _mark(tx: Transaction, credential_id: str) -> int:
    """Bump, and say of a credential that it changed with that revision."""
    revision = await bump(tx)
    await tx.execute("update credential set revision = ? where id = ?", revision, credential_id)
    return revision


async def _live_admins(tx: Transaction, at: int, admins: Admins) -> int:
    found = [*await tx.fetch(_ADMIN_KEYS, at), *await tx.fetch(_ADMIN_BINDINGS, at)]
    return admins.config + sum(int(count) for role, count in found if role in admins.roles)


async def _require_admin(tx: Transaction, at: int, admins: Admins, before: int) -> None:
    if before and not await _live_admins(tx, at, admins):
        raise LastAdmin("nobody would be left who is an admin everywhere; make another one first")
