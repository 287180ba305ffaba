"""One connection to a server: one request at a time, and its answer read no faster than it is used.

Whatever ends an exchange other than its whole answer closes the connection, so no answer can meet the wrong request.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from gateway.http1.head import Malformed
from gateway.upstream.exchange import Closed, Exchange

# How much may lie unread before the server is made to wait; what one look at the socket brings comes on top of it.
HIGH_WATER_BYTES = 64 * 1024
# What may still come after an answer that was enough, and for how long, before the connection is given up.
REST_BYTES = 64 * 1024
REST_SECONDS = 5.0
MAX_RESTING = 256


class Keeper(Protocol):
    """Whose connections they are; `resting` are those on which the rest of an answer is still to come."""

    resting: set[Connection]

    def free(self, connection: Connection) -> None:
        """Take a connection on which another request may follow."""

    def lost(self, connection: Connection) -> None:
        """Forget a connection that has ended."""


class Connection(asyncio.Protocol):
    """One connection; `open` as long as nothing ended it from either side."""

    __slots__ = ("_exchange", "_keeper", "_paused", "_rest", "_timer", "_transport", "idle_since", "open")

    def __init__(self, keeper: Keeper) -> None:
        self.open = False
        self.idle_since = 0.0
        self._keeper = keeper
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._paused = False
        self._timer: asyncio.TimerHandle | None = None
        self._rest = 0

    def send(self, request: bytes) -> Exchange:
        """Send a whole request, where the connection is open and none is under way; raises Closed."""
        if self._transport is None or not self.open or self._exchange is not None:
            raise Closed
        exchange = self._exchange = Exchange(self)
        self._transport.write(request)
        return exchange

    def resume(self, exchange: Exchange) -> None:
        """Read on, now that there is room."""
        if self._paused and exchange is self._exchange and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def leave(self, exchange: Exchange) -> None:
        """Be free again, at once or when the rest of the answer has come."""
        if not self.open or exchange is not self._exchange:
            return
        if exchange.whole:
            self._finish(exchange)
        elif len(self._keeper.resting) < MAX_RESTING:
            self._keeper.resting.add(self)
            self._timer = asyncio.get_running_loop().call_later(REST_SECONDS, self.close)
            self._rest = REST_BYTES
            exchange.drop_unread()
            self.resume(exchange)
        else:
            self.close()

    def give_up(self, exchange: Exchange) -> None:
        """Close if this exchange is the one under way."""
        if exchange is self._exchange:
            self.close()

    def close(self) -> None:
        """End the connection at once, with whatever is under way on it."""
        self.open = False
        self._stop_resting()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note that a request may be sent from now on."""
        self._transport = cast("asyncio.Transport", transport)
        self.open = True

    def data_received(self, data: bytes) -> None:
        """Hand on the answer under way; bytes that nobody asked for close the connection."""
        exchange = self._exchange
        if exchange is None:
            self.close()
            return
        try:
            unread = exchange.feed(data)
        except Malformed as error:
            exchange.fail(error)
            self.close()
            return
        if self._timer is not None:
            self._discard(exchange, len(data))
        elif unread > HIGH_WATER_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def eof_received(self) -> None:
        """Take no further request; the transport closes itself."""
        self.open = False
        if self._exchange is not None:
            self._exchange.end()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Fail what is under way."""
        self.open = False
        self._stop_resting()
        self._transport = None
        if self._exchange is not None:
            self._exchange.fail(Closed("closed before the answer was whole"))
        self._keeper.lost(self)

    def _discard(self, exchange: Exchange, size: int) -> None:
        exchange.drop_unread()
        self._rest -= size
        if exchange.whole:
            self._finish(exchange)
        elif self._rest < 0:
            self.close()

    def _finish(self, exchange: Exchange) -> None:
        self._stop_resting()
        self._exchange = None
        transport = self._transport
        # An answer that came before its request was sent whole would be followed by the rest of that request.
        if exchange.reusable and transport is not None and not transport.get_write_buffer_size():
            self._keeper.free(self)
        else:
            self.close()

    def _stop_resting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._keeper.resting.discard(self)
