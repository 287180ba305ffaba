"""What is SQLite's own: the file, its migrations, and several processes on it."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import stat
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from gateway.errors import Unavailable
from gateway.facts import ServerInventory
from gateway.ids import Ref
from gateway.ledger.connect import open_ledger
from gateway.ledger.migrate import POSTGRESQL, SQLITE, migrate
from gateway.ledger.sqlite import SqliteLedger
from gateway.ledger.values import AuditFilter
from gateway.model import AuditEvent, CredentialKind, Withdrawal

if TYPE_CHECKING:
    from pathlib import Path

EVENT = AuditEvent(id="0190", time=1, type="ToolWithdrawn", outcome="success")


def opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


async def made(path: Path) -> None:
    await (await SqliteLedger.open(path)).close()


async def test_the_file_and_what_sqlite_lays_beside_it_are_its_owner_s_alone(tmp_path: Path):
    ledger = await SqliteLedger.open(tmp_path / "ledger.db")
    await ledger.withdraw(Withdrawal(Ref.of_tool("p", "t"), None, "user:a", 1), EVENT)
    assert modes(tmp_path) == {"ledger.db": 0o600, "ledger.db-wal": 0o600, "ledger.db-shm": 0o600}
    await ledger.close()


async def test_every_commit_is_on_disk_before_it_is_answered(tmp_path: Path):
    ledger = await SqliteLedger.open(tmp_path / "ledger.db")
    settings = {
        name: ledger._writer.execute(f"pragma {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}
    await ledger.close()


async def test_a_schema_newer_than_known_refuses_to_start_and_stays_untouched(tmp_path: Path):
    path = tmp_path / "ledger.db"
    await made(path)
    with closing(opened(path)) as db:
        db.execute("pragma user_version = 99")
    with pytest.raises(Unavailable, match=r"schema version 99.*newer version"):
        await SqliteLedger.open(path)
    with closing(opened(path)) as db:
        assert db.execute("pragma user_version").fetchone() == (99,)


async def test_a_database_of_another_program_is_refused_and_stays_untouched(tmp_path: Path):
    path = tmp_path / "other.db"
    with closing(opened(path)) as db:
        db.execute("create table meta (id integer)")
    with pytest.raises(Unavailable, match="another program"):
        await SqliteLedger.open(path)
    with closing(opened(path)) as db:
        assert db.execute("select name from sqlite_schema").fetchall() == [("meta",)]


@pytest.mark.parametrize("content", [b"not a database, and long enough to be read as one" * 30])
async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, content: bytes):
    path = tmp_path / "ledger.db"
    path.write_bytes(content)
    with pytest.raises(Unavailable, match="cannot be opened"):
        await SqliteLedger.open(path)
    assert path.read_bytes() == content


async def test_a_folder_that_is_not_there_is_said_with_its_path(tmp_path: Path):
    with pytest.raises(Unavailable, match=f"{tmp_path}/absent/ledger.db cannot be opened"):
        await open_ledger(f"sqlite:///{tmp_path}/absent/ledger.db")


@pytest.mark.parametrize("folder", [SQLITE, POSTGRESQL])
def test_migrations_are_numbered_without_gaps_from_one(folder: Path):
    numbers = sorted(int(path.name[:4]) for path in folder.glob("*.sql"))
    assert numbers
    assert numbers == list(range(1, len(numbers) + 1))


def versions(folder: Path, *scripts: str) -> Path:
    copy = folder / "migrations"
    shutil.copytree(SQLITE, copy, dirs_exist_ok=True)
    for number, script in enumerate(scripts, start=len(list(SQLITE.glob("*.sql"))) + 1):
        (copy / f"{number:04}_more.sql").write_text(script)
    return copy


def test_an_older_ledger_is_brought_up_to_date_and_keeps_what_it_has(tmp_path: Path):
    script = "-- a comment; with a semicolon\ncreate table later (a text);\ninsert into later values (';');"
    more = versions(tmp_path, script)
    with closing(opened(tmp_path / "ledger.db")) as db:
        migrate(db)
        before = db.execute("select epoch, revision from meta").fetchall()
        migrate(db, more)
        migrate(db, more)
        assert db.execute("select a from later").fetchall() == [(";",)]
        assert db.execute("select epoch, revision from meta").fetchall() == before


def test_a_migration_that_fails_leaves_nothing_of_any(tmp_path: Path):
    more = versions(tmp_path, "create table later (a text);", "create table later (a text);")
    with closing(opened(tmp_path / "ledger.db")) as db:
        migrate(db)
        (version,) = db.execute("pragma user_version").fetchone()
        with pytest.raises(sqlite3.OperationalError, match="already exists"):
            migrate(db, more)
        assert not db.in_transaction
        assert db.execute("pragma user_version").fetchone() == (version,)
        assert db.execute("select count(*) from sqlite_schema where name = 'later'").fetchone() == (0,)


async def test_what_was_withdrawn_before_there_were_kinds_was_a_tool(tmp_path: Path):
    path, before = tmp_path / "ledger.db", tmp_path / "before"
    before.mkdir()
    for script in sorted(SQLITE.glob("*.sql"))[:4]:
        shutil.copy(script, before)
    with closing(opened(path)) as db:
        migrate(db, before)
        db.execute("insert into withdrawal values ('payments', 'refund', 'tenant:a', 'user:root', 5)")
        db.execute("insert into inventory values ('payments', 'd', '[\"charge\"]', 1)")
    ledger = await SqliteLedger.open(path)
    assert await ledger.withdrawals() == (Withdrawal(Ref.of_tool("payments", "refund"), "tenant:a", "user:root", 5),)
    assert await ledger.inventory() == (ServerInventory("payments", "d", ("charge",), 1),)
    await ledger.close()


async def test_where_the_ledger_stands_can_be_asked_while_another_process_holds_it(tmp_path: Path):
    ledger = await SqliteLedger.open(tmp_path / "ledger.db")
    before = await ledger.meta()
    with closing(opened(tmp_path / "ledger.db")) as db:
        db.execute("begin immediate")
        db.execute("update meta set revision = 50")
        assert await ledger.meta() == before
        db.execute("commit")
    assert (await ledger.meta()).revision == 50
    await ledger.close()


async def test_a_full_disk_is_unavailable_and_nothing_is_half_written(tmp_path: Path):
    ledger = await SqliteLedger.open(tmp_path / "ledger.db")
    (pages,) = ledger._writer.execute("pragma page_count").fetchone()
    ledger._writer.execute(f"pragma max_page_count = {pages}")
    big = AuditEvent(id="0190", time=1, type="x" * 100_000, outcome="success")
    before = await ledger.meta()
    with pytest.raises(Unavailable, match="full"):
        await ledger.withdraw(Withdrawal(Ref.of_tool("p", "t"), None, "user:a", 1), big)
    assert (await ledger.meta(), await ledger.withdrawals()) == (before, ())
    ledger._writer.execute("pragma max_page_count = 100000")
    assert await ledger.withdraw(Withdrawal(Ref.of_tool("p", "t"), None, "user:a", 1), big) == before.revision + 1
    await ledger.close()


OLD = """
    insert into audit (time, type, outcome, tenant, reason, body) values
    ({time}, 'ToolCalled', 'success', 'tenant:a', null, '{{"id": "id {time}",
    "actor": {{"principal": "user:jo"}}, "source": {{}}, "policy": {{}}, "latency_ms": 0.5, "count": 1,
    "target": {{"id": "payments/charge", "amount": 1208925819614629174706176}}}}')
"""


async def test_a_ledger_from_before_the_chain_keeps_its_keys_and_events_and_goes_on_with_a_chain(tmp_path: Path):
    path, first = tmp_path / "ledger.db", tmp_path / "first"
    first.mkdir()
    shutil.copy(SQLITE / "0001_initial.sql", first)
    with closing(opened(path)) as db:
        migrate(db, first)
        for time in (1, 2, 3):
            db.execute(OLD.format(time=time))
        db.execute(
            "insert into credential (id, hash, prefix, principal, name, created_at, created_by)"
            " values ('c_1', 'h', 'mcp_', 'user:jo', '', 1, 'local:jo')"
        )
    ledger = await SqliteLedger.open(path)
    (key,) = await ledger.credentials()
    assert (key.kind, key.tools, key.last_used_at) == (CredentialKind.API_KEY, (), None)
    await ledger.append_audit([EVENT])
    wanted = AuditFilter(principal="user:jo", target="payments/charge")
    found = [one for _, one in await ledger.audit_page(wanted)]
    assert [(one.id, one.time, one.tenant, one.target["amount"]) for one in found] == [
        (f"id {time}", time, "tenant:a", 2**80) for time in (1, 2, 3)
    ]
    verified = await ledger.audit_chain()
    assert (verified.events, verified.unchained, verified.breaks) == (4, 3, ())
    assert await ledger.prune_audit(3) == 2
    assert (await ledger.audit_chain()).breaks == ()
    await ledger.close()


async def test_a_search_that_takes_too_long_is_given_up_and_keeps_no_writer_waiting(tmp_path: Path):
    ledger = await SqliteLedger.open(tmp_path / "ledger.db")
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"
    searching = asyncio.create_task(ledger._read(endless))
    assert await ledger.withdraw(Withdrawal(Ref.of_tool("p", "t"), None, "user:a", 1), EVENT) == 2
    assert not searching.done()
    with pytest.raises(Unavailable, match="interrupted"):
        await searching
    await ledger.close()
