"""The ledger on PostgreSQL, which several gateways share. Nothing here waits for longer than a few seconds."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg import sql as composed
from psycopg.errors import DeadlockDetected, SerializationFailure

from gateway.errors import OutcomeUnknown, Unavailable
from gateway.ledger.connections import Connections
from gateway.ledger.listen import CHANNEL, Listener
from gateway.ledger.migrate import APPLICATION_ID, migrate_postgresql, outdated_postgresql
from gateway.ledger.sql import SqlLedger
from gateway.ledger.transaction import Again

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence

    from gateway.ledger.connections import Connection
    from gateway.ledger.transaction import Reader, Row, Transaction

T = TypeVar("T")
# Longer than the server lets a statement run, so that normally it is the server that gives up, and cleanly.
LIMIT_SECONDS = 5.0
# How long the server may take to hear that nobody waits any more.
GRACE_SECONDS = 1.0
# A migration may have to write every row anew; nobody is served meanwhile anyway.
MIGRATION_SECONDS = 3600.0
CONNECTIONS = 8
ATTEMPTS = 5
FIRST_TO_ENTER = (Again, DeadlockDetected, SerializationFailure)


@dataclass(slots=True)
class PostgresqlTransaction:
    """A transaction, or a look, on a connection that has begun one."""

    connection: Connection
    appended: int = 0

    async def fetch(self, sql: str, *values: Any) -> list[Row]:
        """Return the rows of a statement."""
        return await (await self.connection.execute(_placed(sql), values)).fetchall()

    async def locked(self, sql: str, *values: Any) -> list[Row]:
        """Return rows that nobody else changes before this transaction ends."""
        return await self.fetch(f"{sql} for update", *values)

    async def execute(self, sql: str, *values: Any) -> int:
        """Run a statement and return how many rows it changed."""
        return (await self.connection.execute(_placed(sql), values)).rowcount

    async def each(self, sql: str, rows: Sequence[Row]) -> None:
        """Run a statement once for each row of values."""
        async with self.connection.cursor() as cursor:
            await cursor.executemany(_placed(sql), rows)

    async def load(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert many rows in order, by COPY: half the time of the client that INSERT takes."""
        names = composed.SQL(", ").join(map(composed.Identifier, columns))
        into = composed.SQL("copy {} ({}) from stdin").format(composed.Identifier(table), names)
        async with self.connection.cursor() as cursor, cursor.copy(into) as copy:
            for row in rows:
                await copy.write_row(row)

    async def order_audit(self) -> None:
        """Have nobody else append events before this transaction ends; another schema's ledger has another lock."""
        lock = "select pg_advisory_xact_lock((cast(? as bigint) << 32) | cast('audit'::regclass::oid as bigint))"
        await self.fetch(lock, APPLICATION_ID)

    async def tell(self, revision: int) -> None:
        """Notify those who listen, on commit; the number is all that is said."""
        await self.fetch("select pg_notify(?, ?)", CHANNEL, str(revision))


@dataclass(frozen=True, slots=True)
class _Moment:
    """Reads, in a transaction that sees one moment."""

    connection: Connection

    async def fetch(self, sql: str, *values: Any) -> list[Row]:
        """Return the rows of a statement."""
        async with asyncio.timeout(LIMIT_SECONDS):
            return await PostgresqlTransaction(self.connection).fetch(sql, *values)


@dataclass(slots=True)
class _Commit:
    """Whether the server may have been told to commit: from then on, silence says nothing."""

    begun: bool = False


class PostgresqlLedger(SqlLedger):
    """The ledger's interface over one PostgreSQL database, or one schema of it."""

    def __init__(self, connections: Connections, writer: str) -> None:
        super().__init__(writer)
        self._connections = connections
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._listener = Listener(connections.connect)
        self._closed = False

    @classmethod
    async def open(cls, url: str, writer: str = "portcullis") -> PostgresqlLedger:
        """Connect, and bring the schema up to date if this role may do that."""
        ledger = cls(Connections(url), writer)
        try:
            if await ledger._run(outdated_postgresql):
                await ledger._run(migrate_postgresql, MIGRATION_SECONDS)
        except BaseException:
            await ledger.close()
            raise
        return ledger

    async def changed(self, timeout: float) -> bool:
        """Wait for a notification; it comes with the commit, wherever that is made."""
        self._require_open()
        return await self._listener.wait(timeout)

    async def close(self) -> None:
        """Finish what is under way and let go of the connections."""
        self._closed = True
        await self._listener.close()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._connections.close()

    async def _read(self, sql: str, *values: Any) -> list[Row]:
        return await self._run(lambda connection: PostgresqlTransaction(connection).fetch(sql, *values))

    async def _transact(self, work: Callable[[Transaction], Coroutine[Any, Any, T]]) -> T:
        commit = _Commit()

        async def job(connection: Connection) -> T:
            for _ in range(ATTEMPTS - 1):
                with contextlib.suppress(*FIRST_TO_ENTER):
                    return await self._once(connection, work, commit)
            return await self._once(connection, work, commit)

        try:
            return await self._run(job)
        except Unavailable as error:
            if commit.begun:
                raise OutcomeUnknown(f"{error}; whether the change was made is not known") from error
            raise

    async def _once(
        self, connection: Connection, work: Callable[[Transaction], Coroutine[Any, Any, T]], commit: _Commit
    ) -> T:
        transaction = PostgresqlTransaction(connection)
        commit.begun = False
        async with connection.transaction():
            result = await work(transaction)
            commit.begun = True
        self._pen.wrote(transaction.appended)
        return result

    @asynccontextmanager
    async def _moment(self) -> AsyncIterator[Reader]:
        self._require_open()
        with _translated():
            async with asyncio.timeout(LIMIT_SECONDS):
                connection = await self._connections.connect()
            async with connection:
                await connection.execute("begin isolation level repeatable read, read only")
                yield _Moment(connection)

    async def _run(self, job: Callable[[Connection], Coroutine[Any, Any, T]], seconds: float = LIMIT_SECONDS) -> T:
        """Run a job on a connection. Whoever waits may be cancelled; the job goes on to its end, or to its limit."""
        self._require_open()
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._on_a_connection(job))
        self._tasks.add(task)
        limit = loop.call_later(seconds, _give_up, loop, task)
        task.add_done_callback(functools.partial(self._done, limit))
        await asyncio.wait({task}, timeout=seconds)
        if not task.done() or task.cancelled():
            raise Unavailable(f"the ledger did not answer within {seconds:g} seconds")
        with _translated():
            return task.result()

    async def _on_a_connection(self, job: Callable[[Connection], Coroutine[Any, Any, T]]) -> T:
        async with self._slots:
            connection = await self._connections.take()
            try:
                return await job(connection)
            finally:
                await self._connections.give(connection)

    def _done(self, limit: asyncio.TimerHandle, task: asyncio.Task[Any]) -> None:
        limit.cancel()
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited may have gone, and nobody else is to be told of it

    def _require_open(self) -> None:
        if self._closed:
            raise Unavailable("the ledger is closed")


def _give_up(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    """Cancel a task, which asks the server to cancel what it does; if that is not heard either, hang up."""
    task.cancel()
    loop.call_later(GRACE_SECONDS, task.cancel)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Say of every failure to reach the database, or to be served by it, that the ledger is unavailable."""
    try:
        yield
    except (psycopg.Error, OSError, TimeoutError, Again) as error:
        # The first line: what follows may quote the row.
        text = str(error).partition("\n")[0] or type(error).__name__
        raise Unavailable(f"the ledger does not answer: {text}") from error


@functools.lru_cache(256)
def _placed(sql: str) -> str:
    """Return a statement with its values' places as psycopg marks them."""
    return sql.replace("?", "%s")
