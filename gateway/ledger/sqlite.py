"""The ledger on SQLite: one connection in one thread of its own, and one for the loop's own cheap look at `meta`."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.errors import Unavailable
from gateway.ledger import rows, statements
from gateway.ledger.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gateway.facts import Bundle
    from gateway.model import (
        AuditEvent,
        Credential,
        LedgerMeta,
        Replica,
        ServerInventory,
        ToolRef,
        Withdrawal,
    )

T = TypeVar("T")
BUSY_MS = 5000
PRUNE_BATCH = 2000


class SqliteLedger:
    """The ledger's interface over one SQLite file, which several processes of one machine may share."""

    def __init__(
        self, path: Path, thread: ThreadPoolExecutor, writer: sqlite3.Connection, reader: sqlite3.Connection
    ) -> None:
        self._path = path
        self._file = _identity(path)
        self._thread = thread
        self._writer = writer
        self._reader = reader
        self._closed = False

    @classmethod
    async def open(cls, path: Path) -> SqliteLedger:
        """Open the file, create it (0600) where there is none, and bring its schema up to date."""
        thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        try:
            writer, reader = await asyncio.get_running_loop().run_in_executor(thread, _open_both, path)
        except (OSError, sqlite3.Error) as error:
            thread.shutdown(wait=False)
            raise Unavailable(f"the ledger {path} cannot be opened: {error}") from error
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(path, thread, writer, reader)

    async def meta(self) -> LedgerMeta:
        """Return where the ledger stands; read on the loop, because the hop to a thread costs ten times the read."""
        self._require_open()
        try:
            return rows.meta(self._reader.execute(statements.META).fetchall()[0])
        except (sqlite3.Error, IndexError):
            # Another process holds the file (recovery, checkpoint): wait for it where nobody else is kept waiting.
            # If it is damaged instead, that is said there as for every other read.
            found = await self._read(statements.META)
        if not found:
            raise Unavailable(f"the ledger {self._path} is damaged: it does not say where it stands")
        return rows.meta(found[0])

    async def renew_epoch(self) -> LedgerMeta:
        """Draw a new epoch; the revision goes on."""
        return await self._write(statements.renew_epoch)

    async def note_config(self, config_hash: str, event: AuditEvent | None = None) -> int:
        """Record the configuration in force; the revision is bumped only by a new hash."""
        return await self._write(statements.note_config, config_hash, event)

    async def withdraw(self, withdrawal: Withdrawal, event: AuditEvent) -> int:
        """Withdraw a tool and return the revision that says so."""
        return await self._write(statements.withdraw, withdrawal, event)

    async def restore(self, ref: ToolRef, tenant: str | None, event: AuditEvent) -> tuple[int, tuple[Withdrawal, ...]]:
        """Lift one tenant's withdrawal, or every one of the tool; return revision and what was lifted."""
        return await self._write(statements.restore, ref, tenant, event)

    async def withdrawals(self) -> tuple[Withdrawal, ...]:
        """Return every runtime withdrawal, ordered by tool and tenant."""
        return tuple(map(rows.withdrawal, await self._read(statements.WITHDRAWALS)))

    async def add_credential(self, credential: Credential, event: AuditEvent) -> int:
        """Store a credential and return the revision."""
        return await self._write(statements.add_credential, credential, event)

    async def revoke_credential(self, credential_id: str, by: str, at: int, event: AuditEvent) -> int | None:
        """Revoke a live credential and return the revision; None if there is no such live one."""
        return await self._write(statements.revoke_credential, credential_id, by, at, event)

    async def credentials(self) -> tuple[Credential, ...]:
        """Return every credential, oldest first."""
        return tuple(map(rows.credential, await self._read(statements.CREDENTIALS)))

    async def put_inventory(self, inventory: ServerInventory) -> int | None:
        """Keep what a server offers; return the revision if that is news."""
        return await self._write(statements.put_inventory, inventory)

    async def inventory(self) -> tuple[ServerInventory, ...]:
        """Return the last known inventory of every server, ordered by server."""
        return tuple(map(rows.inventory, await self._read(statements.INVENTORY)))

    async def register_replica(self, replica: Replica) -> int:
        """Count a replica from now on and return the revision."""
        return await self._write(statements.register_replica, replica)

    async def forget_replica(self, name: str) -> int | None:
        """Take a replica out of the count; return the revision, or None if it was not counted."""
        return await self._write(statements.forget_replica, name)

    async def replicas(self) -> tuple[Replica, ...]:
        """Return the counted replicas, ordered by name."""
        return tuple(map(rows.replica, await self._read(statements.REPLICAS)))

    async def note_bundle(self, name: str, digest: str, event: AuditEvent | None = None) -> int:
        """Return the revision that recorded this content of a bundle."""
        return await self._write(statements.note_bundle, name, digest, event)

    async def bundles(self) -> tuple[Bundle, ...]:
        """Return what was last recorded of each bundle, ordered by name."""
        return tuple(map(rows.bundle, await self._read(statements.BUNDLES)))

    async def append_audit(self, events: Sequence[AuditEvent]) -> None:
        """Append events in one transaction, in order."""
        await self._write(statements.append_audit, tuple(events))

    async def audit(self, limit: int = 100, after: int = 0) -> tuple[tuple[int, AuditEvent], ...]:
        """Return up to `limit` (sequence number, event) with sequence above `after`, oldest first."""
        return tuple(map(rows.audit_event, await self._read(statements.AUDIT, after, limit)))

    async def newest_audit(self) -> int:
        """Return the sequence number of the newest event, 0 where there is none."""
        ((newest,),) = await self._read(statements.NEWEST_AUDIT)
        return int(newest)

    async def prune_audit(self, before: int) -> int:
        """Delete audit events older than `before` and return how many; in batches, so that writers get in between."""
        deleted = 0
        while True:
            batch = await self._write(_prune, before)
            deleted += batch
            if batch < PRUNE_BATCH:
                return deleted

    async def close(self) -> None:
        """Finish what is under way and let go of the file."""
        if self._closed:
            return
        self._closed = True
        self._reader.close()
        await self._run(self._writer.close)
        self._thread.shutdown(wait=False)

    async def _read(self, sql: str, *parameters: Any) -> list[rows.Row]:
        self._require_open()
        return await self._run(lambda: self._writer.execute(sql, parameters).fetchall())

    async def _write(self, transaction: Callable[..., T], *arguments: Any) -> T:
        self._require_open()
        return await self._run(lambda: _transact(self._writer, transaction, arguments))

    def _require_open(self) -> None:
        if self._closed:
            raise Unavailable("the ledger is closed")
        if _identity(self._path) != self._file:
            # The old file is still open here, and what is written to it is lost to everybody else.
            raise Unavailable(f"the ledger {self._path} was replaced while it was open; restart to use the new one")

    async def _run(self, job: Callable[[], T]) -> T:
        """Run a job in the ledger's thread; whoever waits may be cancelled, the job goes through to its end."""
        try:
            return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, job))
        except sqlite3.Error as error:
            raise Unavailable(f"the ledger does not answer: {error}") from error


def _identity(path: Path) -> tuple[int, int] | None:
    """Return which file lies at a path, None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _transact(db: sqlite3.Connection, transaction: Callable[..., T], arguments: tuple[Any, ...]) -> T:
    db.execute("begin immediate")
    try:
        result = transaction(db, *arguments)
        db.execute("commit")
    except BaseException:
        if db.in_transaction:
            db.execute("rollback")
        raise
    return result


def _prune(db: sqlite3.Connection, before: int) -> int:
    return db.execute(statements.PRUNE, (before, PRUNE_BATCH)).rowcount


def _open_both(path: Path) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    writer = _connect(path, BUSY_MS)
    try:
        if _journal(writer) != "wal":
            raise Unavailable(f"{path}: this file system cannot share a ledger (no WAL); put it on a local disk")
        writer.execute("pragma synchronous = full")
        writer.execute("pragma foreign_keys = on")
        migrate(writer)
        return writer, _connect(path, 0)
    except BaseException:
        writer.close()
        raise


def _journal(writer: sqlite3.Connection) -> str:
    """Return the journal mode after asking for WAL; of two processes that make one file, one may have to wait."""
    deadline = time.monotonic() + BUSY_MS / 1000
    while True:
        try:
            (mode,) = writer.execute("pragma journal_mode = wal").fetchone()
            return str(mode)
        except sqlite3.OperationalError:
            # SQLite does not wait for its busy time-out here.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _connect(path: Path, busy_ms: int) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.execute(f"pragma busy_timeout = {busy_ms}")
    return db
