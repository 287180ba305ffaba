"""A ledger that is damaged while it is open is away, and nobody goes on as if it were there."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from gateway.authn import CredentialIndex
from gateway.errors import Unavailable
from gateway.follow import Follower
from gateway.ledger.connect import open_ledger
from gateway.pdp.high_water import HighWaterMark

if TYPE_CHECKING:
    from pathlib import Path


async def nothing() -> None:
    """Take no notice of what changed."""


async def test_a_ledger_that_does_not_say_where_it_stands_is_away_until_it_does(tmp_path: Path) -> None:
    path = tmp_path / "portcullis.db"
    ledger = await open_ledger(f"sqlite:///{path}")
    follower = Follower(ledger, CredentialIndex(), HighWaterMark(tmp_path / "mark.json"), nothing)
    try:
        await follower.refresh()
        epoch = follower.epoch
        with closing(sqlite3.connect(path, isolation_level=None)) as vandal:
            vandal.execute("delete from meta")
            with pytest.raises(Unavailable, match="damaged"):
                await follower.refresh()
            assert not follower.reachable
            vandal.execute("insert into meta (id, epoch, revision) values (1, 'other', 1)")
        await follower.refresh()
        assert follower.reachable
        assert follower.epoch == "other" != epoch
    finally:
        await ledger.close()
