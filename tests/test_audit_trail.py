"""The audit trail's group commits: every event once, in the ledger and in the file, whatever fails meanwhile."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson
import pytest

from gateway.audit import AuditTrail, event
from gateway.audit_file import AuditFile
from gateway.errors import Unavailable
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.model import AuditEvent


class Store:
    """A ledger's audit table that lets each commit begin, and end when the test says so."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.begun = 0
        self.away = False
        self.open = asyncio.Event()
        self.open.set()

    async def append(self, events: Sequence[AuditEvent]) -> None:
        self.begun += 1
        await self.open.wait()
        if self.away:
            raise Unavailable("away")
        self.ids += [one.id for one in events]


def events(count: int) -> list[AuditEvent]:
    return [event("ToolCalled", "success") for _ in range(count)]


async def closed(trail: AuditTrail, task: asyncio.Task[None]) -> None:
    await trail.close()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_closing_in_the_middle_of_a_commit_writes_every_event_once(tmp_path: Path):
    store, made = Store(), events(3)
    trail = AuditTrail(store.append, file=AuditFile(tmp_path / "audit.jsonl"))
    task = asyncio.create_task(trail.run())
    store.open.clear()
    trail.record(made[0])
    await until(lambda: store.begun == 1)
    trail.record(made[1])
    closing = asyncio.create_task(closed(trail, task))
    await asyncio.sleep(0)
    trail.record(made[2])
    store.open.set()
    await closing
    assert store.ids == [one.id for one in made]
    lines = (tmp_path / "audit.jsonl").read_bytes().splitlines()
    assert [orjson.loads(line)["id"] for line in lines] == store.ids


async def test_closing_an_idle_trail_writes_the_last_event_once():
    store, (last,) = Store(), events(1)
    trail = AuditTrail(store.append)
    task = asyncio.create_task(trail.run())
    await asyncio.sleep(0)
    store.open.clear()
    trail.record(last)
    closing = asyncio.create_task(closed(trail, task))
    await until(lambda: store.begun)
    for _ in range(3):
        await asyncio.sleep(0)
    store.open.set()
    await closing
    assert store.ids == [last.id]


async def test_events_wait_while_the_ledger_is_away_and_a_full_trail_refuses():
    store, made = Store(), events(2)
    store.away = True
    trail = AuditTrail(store.append, capacity=2)
    task = asyncio.create_task(trail.run())
    for one in made:
        trail.require_room()
        trail.record(one)
    await until(lambda: store.begun == 1)
    with pytest.raises(Unavailable):
        trail.require_room()
    store.away = False
    await until(lambda: len(store.ids) == 2)
    trail.require_room()
    await closed(trail, task)
    assert store.ids == [one.id for one in made]


async def test_an_event_that_the_ledger_has_waits_for_a_file_that_cannot_be_written_and_is_told_of_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    store, (elsewhere, mine) = Store(), events(2)
    folder = tmp_path / "logs"
    trail = AuditTrail(store.append, file=AuditFile(folder / "audit.jsonl"), capacity=1)
    task = asyncio.create_task(trail.run())
    trail.record_elsewhere(elsewhere)
    await until(lambda: trail.failures)
    assert "audit events wait to be written" in caplog.text
    with pytest.raises(Unavailable):
        trail.require_room()
    folder.mkdir()
    await until(lambda: not trail.pending)
    trail.record(mine)
    await closed(trail, task)
    lines = (folder / "audit.jsonl").read_bytes().splitlines()
    assert [orjson.loads(line)["id"] for line in lines] == [elsewhere.id, mine.id]
    assert store.ids == [mine.id]


async def test_a_file_that_cannot_be_written_makes_no_event_twice_in_the_ledger(tmp_path: Path):
    store, (only,) = Store(), events(1)
    folder = tmp_path / "logs"
    trail = AuditTrail(store.append, file=AuditFile(folder / "audit.jsonl"))
    task = asyncio.create_task(trail.run())
    trail.record(only)
    await until(lambda: len(store.ids) == 1)
    folder.mkdir()
    await until((folder / "audit.jsonl").exists)
    await closed(trail, task)
    assert store.ids == [only.id]
