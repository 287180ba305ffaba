"""Numbered migrations of both backends, applied in one transaction; what is newer or somebody else's is refused."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import Unavailable
from gateway.ledger.statements import FIRST_REVISION, new_epoch

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

MIGRATIONS = Path(__file__).parent / "migrations"
SQLITE = MIGRATIONS / "sqlite"
POSTGRESQL = MIGRATIONS / "postgresql"
APPLICATION_ID = 0x50434C47  # "PCLG", so that another program's database is not taken for a ledger


def scripts(folder: Path, version: int) -> list[tuple[int, str]]:
    """Return number and text of every migration above `version`; raises Unavailable for a version that is not known."""
    known = {int(path.name[:4]): path for path in sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))}
    if version > max(known):
        raise Unavailable(
            f"the ledger has schema version {version}, and this version of portcullis knows {max(known)}: "
            "it was written by a newer version; start that one, or restore the ledger's copy from before"
        )
    return [(number, path.read_text(encoding="utf-8")) for number, path in known.items() if number > version]


def migrate(connection: sqlite3.Connection, folder: Path = SQLITE) -> None:
    """Bring an SQLite file up to date and draw a new ledger's epoch; its version is SQLite's own `user_version`."""
    connection.execute("begin immediate")
    try:
        for number, script in scripts(folder, _version(connection)):
            for statement in _statements(script):
                connection.execute(statement)
            connection.execute(f"pragma user_version = {number}")
        connection.execute(_FIRST.replace("%s", "?"), (new_epoch(), FIRST_REVISION))
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:
            connection.execute("rollback")
        raise


_FIRST = "insert into meta (id, epoch, revision) values (1, %s, %s) on conflict (id) do nothing"


def _version(connection: sqlite3.Connection) -> int:
    """Return the schema's version, 0 for an empty file."""
    (version,) = connection.execute("pragma user_version").fetchone()
    (application,) = connection.execute("pragma application_id").fetchone()
    (tables,) = connection.execute("select count(*) from sqlite_schema").fetchone()
    if tables == 0:
        connection.execute(f"pragma application_id = {APPLICATION_ID}")
        return 0
    if application != APPLICATION_ID:
        raise Unavailable("the file is a database of another program, not a ledger; check storage.url")
    return int(version)


def _statements(script: str) -> Iterator[str]:
    """Split a script at its semicolons; `executescript` would commit in the middle of the transaction."""
    pending = ""
    for line in re.sub(r"^\s*--.*$", "", script, flags=re.MULTILINE).splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
    if pending.strip():
        raise ValueError(f"a migration ends in an unfinished statement: {pending.strip()[:80]}")


async def outdated_postgresql(connection: psycopg.AsyncConnection) -> bool:
    """Say whether the first schema of the search path lacks a migration.

    Asked first, so that a role that may not change the schema need not.
    """
    return bool(scripts(POSTGRESQL, await _postgresql_version(connection)))


async def migrate_postgresql(connection: psycopg.AsyncConnection) -> None:
    """Bring the first schema of the search path up to date; its version is in `portcullis_schema`.

    Of several processes one does it, and the others wait, for as long as it takes.
    """
    async with connection.transaction():
        await connection.execute("set local statement_timeout = 0; set local lock_timeout = 0")
        await connection.execute("select pg_advisory_xact_lock(%s)", (APPLICATION_ID,))
        await connection.execute("create table if not exists portcullis_schema (version bigint primary key)")
        for number, script in scripts(POSTGRESQL, await _postgresql_version(connection)):
            await connection.execute(script)
            await connection.execute("insert into portcullis_schema (version) values (%s)", (number,))
        await connection.execute(_FIRST, (new_epoch(), FIRST_REVISION))


async def _postgresql_version(connection: psycopg.AsyncConnection) -> int:
    """Return the schema's version, 0 for an empty one; raises Unavailable for a schema of another program."""
    found = await connection.execute(
        "select current_schema(), to_regclass('portcullis_schema') is not null,"
        " (select count(*) from pg_tables where schemaname = current_schema())"
    )
    schema, ours, tables = await found.fetchone() or (None, False, 0)
    if schema is None:
        raise Unavailable("the database has no schema of the search path; create it, or check storage.url")
    if not ours:
        if tables:
            raise Unavailable(
                f"the schema {schema} holds another program's tables; give the ledger a database of its own, "
                "or a schema: options=-csearch_path%3Dname in storage.url"
            )
        return 0
    newest = await connection.execute("select coalesce(max(version), 0) from portcullis_schema")
    (version,) = await newest.fetchone() or (0,)
    return int(version)
