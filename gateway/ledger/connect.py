"""From `storage.url` to an open ledger."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import Unavailable
from gateway.ledger.postgresql import PostgresqlLedger
from gateway.ledger.sqlite import SqliteLedger

if TYPE_CHECKING:
    from gateway.ledger import Ledger

SQLITE = "sqlite:///"
POSTGRESQL = ("postgresql://", "postgres://")


async def open_ledger(url: str, writer: str = "portcullis") -> Ledger:
    """Open the ledger at `sqlite:////absolute/path` (three slashes: relative to the working directory), or at
    `postgresql://…` as libpq takes it; `writer` is the label of what this process adds to the audit trail.
    """
    if url.startswith(POSTGRESQL):
        return await PostgresqlLedger.open(url, writer)
    if url.startswith(SQLITE):
        return await SqliteLedger.open(Path(url.removeprefix(SQLITE)), writer)
    # The address may hold a password, wherever it went wrong.
    raise Unavailable(
        "the ledger's address is not supported; use sqlite:////path/portcullis.db or postgresql://host/database"
    )
