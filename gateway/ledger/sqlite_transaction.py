"""Transactions on one open SQLite connection, run through in the thread that they are called in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Coroutine, Sequence

    from gateway.ledger.transaction import Row, Transaction

T = TypeVar("T")
# The last is one, so that every number of rows is a sum of these; the first keeps twelve columns under the 999 values
# that SQLite before 3.32 takes.
LOADED_AT_ONCE = (64, 16, 4, 1)


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
        """Insert many rows in order, a group of them with one statement.

        Python lets go of its lock for each statement and takes it back from the event loop afterwards, which costs
        both threads more than a row does.
        """
        at = 0
        for size in LOADED_AT_ONCE:
            while len(rows) - at >= size:
                self.db.execute(_insert(table, tuple(columns), size), tuple(chain.from_iterable(rows[at : at + size])))
                at += size

    async def order_audit(self) -> None:
        """There is one writer at a time anyway."""

    async def tell(self, revision: int) -> None:
        """Others see by the file itself that there was a commit."""


@lru_cache(maxsize=16)
def _insert(table: str, columns: tuple[str, ...], size: int) -> str:
    row = f"({', '.join('?' * len(columns))})"
    return f"insert into {table} ({', '.join(columns)}) values {', '.join([row] * size)}"  # noqa: S608


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
