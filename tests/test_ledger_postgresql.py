"""What is PostgreSQL's own: a server that hangs or dies, roles and schemas, and what is said of passwords."""

from __future__ import annotations

import asyncio
import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg
import pytest

from gateway.errors import OutcomeUnknown, Unavailable
from gateway.facts import Acknowledgement, Replica, ServerInventory
from gateway.ids import Ref
from gateway.ledger.connect import open_ledger
from gateway.ledger.migrate import POSTGRESQL
from gateway.ledger.postgresql import PostgresqlLedger
from gateway.ledger.values import Admins, AuditFilter, Binding
from gateway.model import AuditEvent, Credential, Withdrawal
from tests.support.postgresql import PostgreSQL, address, binaries, fresh
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from gateway.ledger import Ledger

DOCUMENT = (Path(__file__).parent.parent / "docs" / "deployment.md").read_text()


def event(number: int = 1, **more: object) -> AuditEvent:
    return AuditEvent(f"id {number}", number, "ToolWithdrawn", "success")


def withdrawal(tool: str = "refund") -> Withdrawal:
    return Withdrawal(Ref.of_tool("payments", tool), None, "user:root", 1)


@pytest.fixture
async def ledger(new_postgresql: Callable[[], str]) -> AsyncIterator[Ledger]:
    opened = await open_ledger(new_postgresql())
    yield opened
    await opened.close()


@pytest.fixture(scope="module")
def breakable(postgresql_server: dict[str, str]) -> Iterator[PostgreSQL]:
    """A server that nobody else needs."""
    if binaries() is None:
        pytest.skip("a server in a container is not stopped and killed by these tests")
    with PostgreSQL() as one:
        yield one


async def test_a_server_that_hangs_is_unavailable_for_everybody_and_loses_nothing(breakable: PostgreSQL):
    url = fresh(breakable.parameters)
    ledger = await open_ledger(url)
    await ledger.append_audit([event(1)])
    with breakable.hanging():
        waiting = (
            ledger.meta(),
            ledger.withdraw(withdrawal(), event(2)),
            ledger.append_audit([event(3)]),
            ledger.audit_chain(),
            open_ledger(url),
        )
        found = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(one, Unavailable) for one in found)

    async def well() -> bool:
        with contextlib.suppress(Unavailable):
            await ledger.append_audit([event(3), event(4)])
            return True
        return False

    await until(well)
    await ledger.withdraw(withdrawal(), event(2))
    found_events = [one.time for _, one in await ledger.audit()]
    # Of the withdrawal nothing is known but that it was not acknowledged; given again, it is recorded once more.
    assert sorted(set(found_events)) == [1, 2, 3, 4]
    assert found_events.count(3) == found_events.count(4) == 1
    assert (await ledger.audit_chain()).breaks == ()
    await ledger.close()


async def test_a_server_that_is_killed_is_unavailable_at_once_and_back_with_the_first_use(breakable: PostgreSQL):
    ledger = await open_ledger(fresh(breakable.parameters))
    revision = await ledger.withdraw(withdrawal(), event(1))
    while await ledger.changed(0.3):
        pass
    breakable.kill()
    with pytest.raises(Unavailable):
        await ledger.meta()
    # Whoever waits for news hears that something is wrong.
    assert await ledger.changed(10)
    breakable.start()
    assert (await ledger.meta()).revision == revision
    assert await ledger.withdrawals() == (withdrawal(),)
    await until(lambda: ledger.changed(0))
    await ledger.close()


async def test_news_is_heard_again_after_the_connection_that_listened_was_cut(breakable: PostgreSQL):
    url = fresh(breakable.parameters)
    ledger, other = await open_ledger(url), await open_ledger(url)
    await ledger.changed(10)
    while await ledger.changed(0.3):
        pass
    cut = "select pg_terminate_backend(pid) from pg_stat_activity where query like 'listen %'"
    with psycopg.connect(address(breakable.parameters), autocommit=True) as connection:
        assert len(connection.execute(cut).fetchall()) == 1
    assert await ledger.changed(10)
    # Heard anew as everything having changed, and then for each commit.
    assert await ledger.changed(10)
    await other.withdraw(withdrawal(), event())
    assert await ledger.changed(10)
    for one in (ledger, other):
        await one.close()


class Cut:
    """A server on a socket of its own before the real one. While `armed`, an answer to a commit is swallowed, and both
    sides find their connection closed.
    """

    def __init__(self, folder: Path, there: dict[str, str]) -> None:
        self.folder = folder
        self.armed = False
        self._there = Path(there["host"]) / f".s.PGSQL.{there.get('port', '5432')}"

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        async with await asyncio.start_unix_server(self._between, self.folder / ".s.PGSQL.5432"):
            yield

    async def _between(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_unix_connection(self._there)
        commits = asyncio.Event()

        async def forth() -> None:
            while data := await reader.read(65536):
                if self.armed and b"COMMIT" in data:
                    commits.set()
                there_writer.write(data)
            there_writer.close()

        async def back() -> None:
            while data := await there_reader.read(65536):
                if commits.is_set():
                    break
                writer.write(data)
            writer.close()
            there_writer.close()

        await asyncio.gather(forth(), back())


async def test_events_whose_commit_was_never_answered_are_there_once_when_they_are_given_again(
    postgresql_server: dict[str, str], tmp_path_factory: pytest.TempPathFactory
):
    url = fresh(postgresql_server)
    proxy = Cut(tmp_path_factory.mktemp("cut"), postgresql_server)
    async with proxy.serve():
        ledger = await open_ledger(
            url.replace(quote(postgresql_server["host"], safe=""), quote(str(proxy.folder), safe=""))
        )
        for number in (1, 4):
            proxy.armed = True
            with pytest.raises(Unavailable):
                await ledger.append_audit([event(number), event(number + 1)])
            with pytest.raises(OutcomeUnknown):
                await ledger.withdraw(withdrawal(f"t{number}"), event(50 + number))
            proxy.armed = False
            if number == 4:
                await ledger.withdraw(withdrawal(), event(99))
            await ledger.append_audit([event(number), event(number + 1), event(number + 2)])
        assert [one.time for _, one in await ledger.audit()] == [1, 2, 51, 3, 4, 5, 54, 99, 6]
        assert (await ledger.audit_chain()).breaks == ()
        await ledger.close()


async def test_no_statement_and_no_silent_client_outlives_the_patience_of_others(ledger: Ledger):
    assert isinstance(ledger, PostgresqlLedger)
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "synchronous_commit")
    said = [await ledger._read(f"show {name}") for name in names]
    assert said == [[("4s",)], [("3s",)], [("5s",)], [("on",)]]


async def test_a_server_that_commits_without_its_disk_commits_with_it_for_us(new_postgresql: Callable[[], str]):
    url = new_postgresql().replace("options=", f"options={quote('-csynchronous_commit=off ')}")
    ledger = await open_ledger(url)
    assert isinstance(ledger, PostgresqlLedger)
    assert await ledger._read("show synchronous_commit") == [("on",)]
    await ledger.close()


async def test_a_database_that_may_only_be_read_is_no_ledger(new_postgresql: Callable[[], str]):
    """A standby is one, and what it says may be old."""
    with pytest.raises(Unavailable, match="read-only"):
        await open_ledger(
            new_postgresql().replace("options=", f"options={quote('-cdefault_transaction_read_only=on ')}")
        )


# --- what lies in the database ----------------------------------------------------------------------------------------


def sql(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)  # type: ignore[arg-type]
        return cursor.fetchall() if cursor.description else []


async def test_a_schema_newer_than_known_refuses_to_start_and_stays_untouched(new_postgresql: Callable[[], str]):
    url = new_postgresql()
    await (await open_ledger(url)).close()
    sql(url, "insert into portcullis_schema (version) values (99)")
    with pytest.raises(Unavailable, match=r"schema version 99.*newer version"):
        await open_ledger(url)
    assert sql(url, "select max(version) from portcullis_schema") == [(99,)]


async def test_a_schema_of_another_program_is_refused_and_stays_untouched(new_postgresql: Callable[[], str]):
    url = new_postgresql()
    sql(url, "create table meta (id integer)")
    with pytest.raises(Unavailable, match="another program"):
        await open_ledger(url)
    assert sql(url, "select tablename from pg_tables where schemaname = current_schema()") == [("meta",)]


async def test_a_schema_that_is_not_there_is_said_to_be_missing(postgresql_server: dict[str, str]):
    with pytest.raises(Unavailable, match="no schema of the search path"):
        await open_ledger(address(postgresql_server, options="-csearch_path=absent"))


async def test_a_database_in_another_encoding_is_refused(postgresql_server: dict[str, str]):
    plain = address(postgresql_server)
    sql(plain, "create database latin encoding 'LATIN1' template template0 locale 'C'")
    with pytest.raises(Unavailable, match="LATIN1"):
        await open_ledger(plain.replace("/postgres?", "/latin?"))


async def test_two_ledgers_in_two_schemas_of_one_database_know_nothing_of_each_other(new_postgresql: Callable[[], str]):
    one, two = await open_ledger(new_postgresql()), await open_ledger(new_postgresql())
    await one.withdraw(withdrawal(), event())
    assert (await two.meta()).revision == 1
    assert await two.withdrawals() == ()
    for ledger in (one, two):
        await ledger.close()


def test_every_migration_names_how_text_is_compared():
    """A database's own order may put `a` before `B`, and then pages and models disagree with SQLite's."""
    for path in POSTGRESQL.glob("*.sql"):
        assert not re.findall(
            r"\btext\b(?! collate \"C\")(?=[ ,])", re.sub(r"^--.*$", "", path.read_text(), flags=re.MULTILINE)
        )


async def every_action(ledger: Ledger) -> None:
    """Do everything that a gateway and a sync do to their ledger."""
    key = Credential("c_1", "h1", "mcp_1", "user:jo", "", None, None, 1, "local:jo")
    await ledger.note_config("hash", event(1))
    await ledger.withdraw(withdrawal(), event(2))
    await ledger.restore(withdrawal().ref, None, event(3))
    await ledger.add_credential(key, event(4))
    new = Credential("c_2", "h2", "mcp_2", "user:jo", "", None, None, 1, "local:jo")
    await ledger.rotate_credential("c_1", new, 90, event(5))
    await ledger.revoke_credential("c_2", "user:root", 2, event(6), admins=Admins(0))
    await ledger.touch_credentials({"c_1": 5})
    await ledger.assign_role(Binding("user:jo", "viewer", "global", None, "user:root", 1), event(7))
    await ledger.revoke_role("user:jo", "viewer", "global", None, "user:root", 2, event(8), admins=Admins(0))
    await ledger.assign_role(Binding("user:jo", "viewer", "global", None, "user:root", 3), event(9))
    for digest in ("d1", "d2"):
        await ledger.put_inventory(ServerInventory("payments", digest, (), 1))
    for token in ("t1", "t2"):
        await ledger.register_replica(Replica("gw-1", token, 1))
    for revision in (7, 8):
        await ledger.acknowledge([Acknowledgement("gw-1", "t2", "sync", "e", revision, (), 1)], news=True)
    for digest in ("d1", "d2"):
        await ledger.note_bundle("custom", digest)
    await ledger.forget_replica("gw-1")
    await ledger.renew_epoch((await ledger.meta()).epoch)
    await ledger.append_audit([event(10)])
    await asyncio.gather(
        *(ledger.withdrawals(), ledger.credentials(), ledger.credentials_page(), ledger.bindings()),
        *(ledger.inventory(), ledger.replicas(), ledger.audit_page(AuditFilter()), ledger.newest_audit()),
        *(ledger.bundles(), ledger.acknowledgements()),
    )
    assert (await ledger.audit_chain()).breaks == ()


async def test_the_documented_roles_can_do_what_they_are_for_and_nothing_to_the_trail(
    postgresql_server: dict[str, str],
):
    first, second, third = re.findall(r"```sql\n(.*?)```", DOCUMENT, re.DOTALL)
    root = address(postgresql_server)

    def url(role: str) -> str:
        return address(postgresql_server | {"user": role})

    sql(root, first)
    with pytest.raises(Unavailable, match="permission denied"):
        await open_ledger(url("portcullis"))
    await (await open_ledger(url("portcullis_owner"))).close()
    sql(root, second)
    sql(root, third)
    ledger = await open_ledger(url("portcullis"))
    await every_action(ledger)
    with pytest.raises(Unavailable, match="permission denied for table audit"):
        await ledger.prune_audit(1000)
    await ledger.close()
    for statement in (
        "update audit set body = ''",
        "delete from audit",
        "truncate audit",
        "drop table audit",
        "update audit_writer set pruned_number = 5",
        "delete from audit_writer",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            sql(url("portcullis"), statement)
    pruner = await open_ledger(url("portcullis_pruner"))
    assert await pruner.prune_audit(9) == 8
    assert (await pruner.audit_chain()).breaks == ()
    with pytest.raises(Unavailable, match="permission denied"):
        await pruner.withdraw(withdrawal(), event())
    await pruner.close()


# --- passwords --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://jo:hunter2%zz@db/x",
        "postgresql://jo:hunter2@db/x?bogus=1",
        "postgresql://jo:hunter2@[::1/x",
        "postgres://jo:hunter2@127.0.0.1:1/x",
        "postgresq://jo:hunter2@db/x",
    ],
)
async def test_no_error_says_the_password(url: str):
    with pytest.raises(Unavailable) as refused:
        await open_ledger(url)
    assert "hunter2" not in str(refused.value)
    cause = refused.value.__cause__
    assert "hunter2" not in f"{cause!r}"
