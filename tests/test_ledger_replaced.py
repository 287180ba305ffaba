"""A ledger file that is replaced under a running process, as a restored backup is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.errors import Unavailable
from gateway.ledger.connect import open_ledger

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_ledger_whose_file_was_replaced_is_unavailable_and_not_silently_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "portcullis.db"
    ledger = await open_ledger(f"sqlite:///{path}")
    try:
        assert (await ledger.meta()).revision == 1
        path.rename(tmp_path / "old.db")
        other = await open_ledger(f"sqlite:///{path}")
        await other.close()
        with pytest.raises(Unavailable, match="replaced"):
            await ledger.meta()
        with pytest.raises(Unavailable, match="replaced"):
            await ledger.renew_epoch("seen")
    finally:
        await ledger.close()
