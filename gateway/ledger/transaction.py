"""What the ledger's transactions are written against, once for both backends.

A statement uses what SQL both know, with `?` for its values. The functions are coroutines, so that PostgreSQL can be
waited for; on SQLite nothing is, and they run through in the ledger's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Sequence

Row = tuple[Any, ...]


class Again(GatewayError):
    """Another transaction was first to do the same; this one is to begin anew."""


class Reader(Protocol):
    """Reads."""

    async def fetch(self, sql: str, *values: Any) -> list[Row]:
        """Return the rows of a statement."""


class Transaction(Reader, Protocol):
    """One transaction: all of it is committed, or nothing. `appended` is the number of the last event added in it."""

    appended: int

    async def locked(self, sql: str, *values: Any) -> list[Row]:
        """Return rows that nobody else changes before this transaction ends."""

    async def execute(self, sql: str, *values: Any) -> int:
        """Run a statement and return how many rows it changed."""

    async def each(self, sql: str, rows: Sequence[Row]) -> None:
        """Run a statement once for each row of values."""

    async def load(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert many rows in order, the fastest way there is."""

    async def order_audit(self) -> None:
        """Have nobody else append events before this transaction ends.

        So events become visible in the order of their sequence numbers, and who reads on from one misses none.
        """

    async def tell(self, revision: int) -> None:
        """Have those who wait in `changed` told of a revision once this transaction is committed."""
