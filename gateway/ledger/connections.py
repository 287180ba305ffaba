"""Connections to one PostgreSQL: made when they are needed, used again, and each bounded in what it may wait for.

Not psycopg_pool: that one says that a server is away only when its time-out is over, and goes on trying with growing
pauses after it is back. Here a refused connection is an error at once, and the first use after an outage connects.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import conninfo
from psycopg.pq import TransactionStatus

from gateway.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

Connection = psycopg.AsyncConnection[tuple[Any, ...]]

# What libpq is told unless the URL tells it something else: seconds, and for tcp_user_timeout milliseconds. A standby
# that nobody may write to is no ledger; a peer that vanished is noticed within about ten seconds.
USUAL: Mapping[str, Any] = {
    "application_name": "portcullis",
    "connect_timeout": 3,
    "target_session_attrs": "read-write",
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
# No statement outlives the patience of those who wait for it, and no client that went silent keeps others waiting.
# An answered commit is on disk, whatever the server does for others.
SESSION = """
    select set_config('statement_timeout', '4s', false), set_config('lock_timeout', '3s', false),
        set_config('idle_in_transaction_session_timeout', '5s', false),
        set_config('default_transaction_isolation', 'read committed', false),
        set_config('synchronous_commit', case current_setting('synchronous_commit') when 'off' then 'on'
            else current_setting('synchronous_commit') end, false),
        current_setting('server_encoding')"""


class Connections:
    """Idle connections to where `url` points. Raises Unavailable for an address that is none, without naming it."""

    def __init__(self, url: str) -> None:
        try:
            parameters = conninfo.conninfo_to_dict(url)
        except psycopg.ProgrammingError:
            # The error's text quotes what it does not understand, which may be a password.
            raise Unavailable("the ledger's address is none that PostgreSQL's clients understand") from None
        self._parameters = {**USUAL, **parameters, "client_encoding": "utf8"}
        self._idle: list[Connection] = []

    async def take(self) -> Connection:
        """Return a connection that is not in a transaction: an idle one if it still is one, else a new one."""
        while self._idle:
            connection = self._idle.pop()
            if _sound(connection):
                return connection
            await connection.close()
        return await self.connect()

    async def give(self, connection: Connection) -> None:
        """Take a connection back; one that is not at rest is closed."""
        if _at_rest(connection):
            self._idle.append(connection)
        else:
            await connection.close()

    async def connect(self) -> Connection:
        """Return a new connection."""
        connection = await psycopg.AsyncConnection.connect(autocommit=True, **self._parameters)
        try:
            found = await (await connection.execute(SESSION)).fetchone()
            if found is not None and found[-1] != "UTF8":
                raise Unavailable(f"the database's encoding is {found[-1]}, and the ledger needs UTF8")
        except BaseException:
            await connection.close()
            raise
        return connection

    async def close(self) -> None:
        """Close the idle ones."""
        while self._idle:
            await self._idle.pop().close()


def _at_rest(connection: Connection) -> bool:
    return not connection.closed and connection.info.transaction_status is TransactionStatus.IDLE


def _sound(connection: Connection) -> bool:
    """Say whether a connection is at rest and has nothing to say: all that a server says unasked is that it ends."""
    if not _at_rest(connection):
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return not poll.poll(0)
