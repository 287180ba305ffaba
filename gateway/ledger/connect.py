"""From `storage.url` to an open ledger."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import Unavailable
from gateway.ledger.sqlite import SqliteLedger

if TYPE_CHECKING:
    from gateway.ledger import Ledger

SQLITE = "sqlite:///"


async def open_ledger(url: str) -> Ledger:
    """Open the ledger at `sqlite:////absolute/path` (three slashes: relative to the working directory)."""
    if not url.startswith(SQLITE):
        scheme = url.partition(":")[0]
        raise Unavailable(f"a ledger at {scheme}: is not supported by this version; use sqlite:////path/portcullis.db")
    return await SqliteLedger.open(Path(url.removeprefix(SQLITE)))
