"""The ledger on SQLite: a connection that writes and one that reads, each in a thread of its own, and one for the
loop's own cheap looks.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.errors import Unavailable
from gateway.ledger import rows, statements
from gateway.ledger.migrate import migrate
from gateway.ledger.sql import SqlLedger
from gateway.ledger.sqlite_transaction import transact

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
    from pathlib import Path

    from gateway.facts import LedgerMeta
    from gateway.ledger.transaction import Reader, Row, Transaction

T = TypeVar("T")
BUSY_MS = 5000
# A search may take this long; it keeps no writer waiting, only who reads after it.
SEARCH_SECONDS = 5.0
POLL_SECONDS = 0.025
# What `changed` tells of: every mutation, and what replicas have applied.
STANDING = (
    "select epoch, revision, config_hash, (select group_concat(revision || lacking) from acknowledgement) from meta"
)
STEPS_BETWEEN_LOOKS = 100_000


class SqliteLedger(SqlLedger):
    """The ledger's interface over one SQLite file, which several processes of one machine may share."""

    def __init__(self, path: Path, writer: str, connections: tuple[sqlite3.Connection, ...]) -> None:
        super().__init__(writer)
        self._path = path
        self._file = _identity(path)
        self._writer, self._reader, self._looker = connections
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="ledger-reads")
        self._version: int | None = None
        self._stood = self._stand()
        self._closed = False

    @classmethod
    async def open(cls, path: Path, writer: str = "portcullis") -> SqliteLedger:
        """Open the file, create it (0600) where there is none, and bring its schema up to date."""
        try:
            return cls(path, writer, await asyncio.to_thread(_open_all, path))
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(f"the ledger {path} cannot be opened: {error}") from error

    async def meta(self) -> LedgerMeta:
        """Return where the ledger stands; read on the loop, because the hop to a thread costs ten times the read."""
        self._require_open()
        try:
            return rows.meta(self._looker.execute(statements.META).fetchall()[0])
        except (sqlite3.Error, IndexError):
            # Another process holds the file (recovery, checkpoint): wait for it where nobody else is kept waiting.
            # If it is damaged instead, that is said there as for every other read.
            found = await self._read(statements.META)
        if not found:
            raise Unavailable(f"the ledger {self._path} is damaged: it does not say where it stands")
        return rows.meta(found[0])

    async def changed(self, timeout: float) -> bool:
        """Wait for a commit of anybody's; a look costs microseconds and is taken forty times a second."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            self._require_open()
            if self._moved():
                return True
            if (left := deadline - loop.time()) <= 0:
                return False
            await asyncio.sleep(min(POLL_SECONDS, left))

    async def close(self) -> None:
        """Finish what is under way and let go of the file."""
        if self._closed:
            return
        self._closed = True
        self._looker.close()
        for thread, connection in ((self._reading, self._reader), (self._writing, self._writer)):
            await self._run(thread, connection.close)
            thread.shutdown(wait=False)

    async def _read(self, sql: str, *values: Any) -> list[Row]:
        self._require_open()
        return await self._run(self._reading, lambda: _search(self._reader, sql, values))

    async def _transact(self, work: Callable[[Transaction], Coroutine[Any, Any, T]]) -> T:
        self._require_open()

        def job() -> T:
            result, appended = transact(self._writer, work)
            self._pen.wrote(appended)
            return result

        return await self._run(self._writing, job)

    @asynccontextmanager
    async def _moment(self) -> AsyncIterator[Reader]:
        self._require_open()
        thread = ThreadPoolExecutor(1, thread_name_prefix="ledger-moment")
        db = await self._run(thread, lambda: _connect(self._path, BUSY_MS))
        try:
            db.execute("begin")
            yield _Moment(db, lambda job: self._run(thread, job))
        finally:
            await self._run(thread, db.close)
            thread.shutdown(wait=False)

    def _moved(self) -> bool:
        """Say whether the ledger stands elsewhere than at the last look; doubt says so too."""
        try:
            (version,) = self._looker.execute("pragma data_version").fetchone()
        except sqlite3.Error:
            return True
        if version == self._version:
            return False
        # Somebody else has committed, and most of the time that is audit events.
        before, self._version, self._stood = self._stood, version, self._stand()
        return self._stood is None or self._stood != before

    def _stand(self) -> Row | None:
        try:
            found: Row | None = self._looker.execute(STANDING).fetchone()
        except sqlite3.Error:
            return None
        return found

    def _require_open(self) -> None:
        if self._closed:
            raise Unavailable("the ledger is closed")
        if _identity(self._path) != self._file:
            # The old file is still open here, and what is written to it is lost to everybody else.
            raise Unavailable(f"the ledger {self._path} was replaced while it was open; restart to use the new one")

    async def _run(self, thread: ThreadPoolExecutor, job: Callable[[], T]) -> T:
        """Run a job in one of the ledger's threads; whoever waits may be cancelled, the job goes through to its end."""
        try:
            return await asyncio.shield(asyncio.get_running_loop().run_in_executor(thread, job))
        except sqlite3.Error as error:
            raise Unavailable(f"the ledger does not answer: {error}") from error


@dataclass(frozen=True, slots=True)
class _Moment:
    """Reads in a thread of its own, in a transaction that sees one moment."""

    db: sqlite3.Connection
    run: Callable[[Callable[[], list[Row]]], Awaitable[list[Row]]]

    async def fetch(self, sql: str, *values: Any) -> list[Row]:
        """Return the rows of a statement."""
        return await self.run(lambda: self.db.execute(sql, values).fetchall())


def _identity(path: Path) -> tuple[int, int] | None:
    """Return which file lies at a path, None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _search(db: sqlite3.Connection, sql: str, values: Row) -> list[Row]:
    deadline = time.monotonic() + SEARCH_SECONDS
    db.set_progress_handler(lambda: time.monotonic() > deadline, STEPS_BETWEEN_LOOKS)
    return db.execute(sql, values).fetchall()


def _open_all(path: Path) -> tuple[sqlite3.Connection, ...]:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    writer = _connect(path, BUSY_MS)
    try:
        if _journal(writer) != "wal":
            raise Unavailable(f"{path}: this file system cannot share a ledger (no WAL); put it on a local disk")
        writer.execute("pragma synchronous = full")
        writer.execute("pragma foreign_keys = on")
        migrate(writer)
        return writer, _connect(path, BUSY_MS), _connect(path, 0)
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
