"""Numbered migrations, applied in one transaction; the schema's version is SQLite's own `user_version`."""

from __future__ import annotations

import re
import secrets
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

MIGRATIONS = Path(__file__).parent / "migrations"
APPLICATION_ID = 0x50434C47  # "PCLG", so that another program's database is not taken for a ledger
FIRST_REVISION = 1


def migrate(connection: sqlite3.Connection, folder: Path = MIGRATIONS) -> None:
    """Bring the schema up to date and draw a new ledger's epoch; raises Unavailable for a newer or foreign file."""
    known = {int(path.name[:4]): path for path in folder.glob("[0-9][0-9][0-9][0-9]_*.sql")}
    connection.execute("begin immediate")
    try:
        version = _version(connection)
        if version > max(known):
            raise Unavailable(
                f"the ledger has schema version {version}, and this version of portcullis knows {max(known)}: "
                "it was written by a newer version; start that one, or restore the ledger's copy from before"
            )
        for number in sorted(number for number in known if number > version):
            for statement in _statements(known[number].read_text(encoding="utf-8")):
                connection.execute(statement)
            connection.execute(f"pragma user_version = {number}")
        _draw_epoch(connection)
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:
            connection.execute("rollback")
        raise


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


def _draw_epoch(connection: sqlite3.Connection) -> None:
    connection.execute(
        "insert into meta (id, epoch, revision) values (1, ?, ?) on conflict (id) do nothing",
        (secrets.token_hex(16), FIRST_REVISION),
    )
