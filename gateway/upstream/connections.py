"""The connections to one server, kept alive between requests for as long as it surely keeps them too."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.upstream.connection import Connection
from gateway.upstream.exchange import Closed

if TYPE_CHECKING:
    from gateway.dial import Dialer
    from gateway.upstream.exchange import Exchange

# Less than the five seconds after which common servers hang up: a call that meets a closing connection is lost.
IDLE_SECONDS = 4.0


class Connections:
    """Sends each request on a connection of its own: the one that was used last, else a new one.

    Nothing is ever sent twice. A connection that is known to have ended is passed over before anything is sent on it;
    one that ends afterwards fails its request, because the server may have read it.
    """

    def __init__(self, dialer: Dialer, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._dialer = dialer
        self._idle_seconds = idle_seconds
        self.resting: set[Connection] = set()
        self._every: set[Connection] = set()
        # The longest idle comes first.
        self._idle: list[Connection] = []
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    async def send(self, request: bytes) -> Exchange:
        """Send a request; raises what `Dialer.connect` does, and Closed where there is none to send it on."""
        earliest = asyncio.get_running_loop().time() - self._idle_seconds
        while self._idle:
            connection = self._idle.pop()
            if connection.open and connection.idle_since > earliest:
                return connection.send(request)
            connection.close()
        connection = await self._dialer.connect(lambda: Connection(self))
        if self._closed or not connection.open:
            connection.close()
            raise Closed
        self._every.add(connection)
        return connection.send(request)

    async def close(self) -> None:
        """End every connection; what is under way fails."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        self._idle.clear()
        for connection in tuple(self._every):
            connection.close()
        # Lets the transports report their end before the loop may stop.
        await asyncio.sleep(0)

    def free(self, connection: Connection) -> None:
        """Keep a connection for the next request."""
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(self._idle_seconds, self._close_idle)

    def lost(self, connection: Connection) -> None:
        """Forget a connection."""
        self._every.discard(connection)

    def _close_idle(self) -> None:
        loop = asyncio.get_running_loop()
        earliest = loop.time() - self._idle_seconds
        self._sweep = None
        while self._idle and (not self._idle[0].open or self._idle[0].idle_since <= earliest):
            self._idle.pop(0).close()
        if self._idle:
            self._sweep = loop.call_at(self._idle[0].idle_since + self._idle_seconds, self._close_idle)
