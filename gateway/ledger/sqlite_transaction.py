"""Transactions on one open SQLite connection, run through in the thread that they are called in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Coroutine, Sequence

    from gateway.ledger.transaction import Row, Transaction

T = TypeVar("T")


@dataclass(slots=True)
class SqliteTransaction:
    """A transaction on a connection that has begun one; nothing in it is ever waited for."""

    db: sqlite3.Connection
    appended: int = 0

    async def fetch(self, sql: str, *values: Any) -> list[Row]:
        """Return the rows of a statement."""
        return self.db.execute(sql, values).fetchall()

    async def locked(self, sql: str, *values: Any) -> list[Row]:
        """Return rows; `begin immediate` lets nobody else change any."""
        return self.db.execute(sql, values).fetchall()

    async def execute(self, sql: str, *values: Any) -> int:
        """Run a statement and return how many rows it changed."""
        return self.db.execute(sql, values).rowcount

    async def each(self, sql: str, rows: Sequence[Row]) -> None:
        """Run a statement once for each row of values."""
        self.db.executemany(sql, rows)

    async def load(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert many rows in order."""
        places = ", ".join("?" * len(columns))
        self.db.executemany(f"insert into {table} ({', '.join(columns)}) values ({places})", rows)  # noqa: S608

    async def order_audit(self) -> None:
        """There is one writer at a time anyway."""

    async def tell(self, revision: int) -> None:
        """Others see by the file itself that there was a commit."""


def transact(db: sqlite3.Connection, work: Callable[[Transaction], Coroutine[Any, Any, T]]) -> tuple[T, int]:
    """Return what work returns, and the number of the last event that it appended."""
    transaction = SqliteTransaction(db)
    db.execute("begin immediate")
    try:
        result = _through(work(transaction))
        db.execute("commit")
    except BaseException:
        if db.in_transaction:
            db.execute("rollback")
        raise
    return result, transaction.appended


def _through(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    work.close()
    raise RuntimeError("a transaction on SQLite waited for something")
