"""The HTTP server, hardened for strangers: deadlines, connection caps, no decompression (A38, A39).

aiohttp's defaults wait an hour for a silent client and inflate request bodies on the event loop; the settings here
are the ones that a public listener needs. The head deadline leans on two private attributes of aiohttp's
RequestHandler (`_request_count`, `_messages`), and the answer to what is no HTTP on a third (`_make_error_handler`), so
aiohttp is pinned and the tests fail if they change their meaning.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler

from gateway.endpoints.reply import as_aiohttp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http import RawRequestMessage
    from aiohttp.streams import StreamReader

    from gateway.endpoints.reply import Answer

HEAD_SECONDS = 10.0
WRITE_SECONDS = 30.0
KEEPALIVE_SECONDS = 75.0
# After the drain nothing is owed to what is still under way; it is cancelled.
CLOSE_SECONDS = 0.5
LINGERING_SECONDS = 0.5
CONNECTIONS = 4096
CONNECTIONS_PER_PEER = 512
END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds within which a head must be whole, and within which a peer must take some of an answer."""

    head: float = HEAD_SECONDS
    write: float = WRITE_SECONDS


class Connection(RequestHandler):
    """One client connection: its head must be whole and its answers taken in time, and its peer may not hold many."""

    __slots__ = ("_begun", "_body", "_chunked", "_head_timer", "_peer", "_write_timer")

    def __init__(self, server: Server, **options: Any) -> None:
        super().__init__(server, **options)
        # The body of the newest request, and what has come of the head behind it.
        self._body: StreamReader = EMPTY_PAYLOAD
        self._chunked = False
        self._begun = bytearray()
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._peer = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection; one too many is dropped before it costs anything."""
        super().connection_made(transport)
        address = transport.get_extra_info("peername")
        self._peer = address[0] if isinstance(address, tuple) else ""
        if not self._server.admit(self._peer):
            self.force_close()
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Parse, and give every head that is begun its deadline, also while an earlier request is being answered."""
        count, body, taken = self._request_count, self._body, self._body.total_bytes
        in_body = not body.is_eof()
        super().data_received(data)
        if in_body:
            if not body.is_eof():
                return
            data = data[_end_of_chunks(data) if self._chunked else body.total_bytes - taken :]
        if arrived := self._request_count - count:
            self._head_done()
            self._begun = bytearray(self._behind(self._begun + data if self._begun else data, arrived))
        else:
            self._begun += data
        if self._begun and self._head_timer is None:
            self._expect_head()

    def _behind(self, data: bytes | bytearray, arrived: int) -> bytes | bytearray:
        """Return what of `data` comes after the requests that have arrived with it, and note the newest one's body.

        Where their end cannot be told exactly, it is taken too early: then a head counts as begun that is not.
        """
        at = 0
        for message, body in list(self._messages)[-arrived:]:
            at = data.find(END_OF_HEAD, at) + len(END_OF_HEAD) + body.total_bytes
            # In the place of a request that is none, aiohttp has a note of the error.
            self._body, self._chunked = body, bool(getattr(message, "chunked", False))
        if not self._body.is_eof():
            return b""
        return data[_end_of_chunks(data) if self._chunked else at :]

    def _make_error_handler(self, _error: object) -> Any:
        # What is no HTTP is refused like any bad request: aiohttp would echo it, and log all of it (A36).
        return self._request_handler

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Go on where reading was stopped; aiohttp asks for it with every body, and then feeds its parser nothing."""
        if self._reading_paused or self._buffer_paused:
            super().resume_reading(resume_parser)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Uncount the connection."""
        self._head_done()
        self._write_done()
        self._server.release(self._peer)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Give a peer that takes no more of an answer its deadline; what is buffered for it is ours to hold."""
        super().pause_writing()
        self._write_done()
        self._expect_progress()

    def resume_writing(self) -> None:
        """Forget the deadline: the peer has read on."""
        super().resume_writing()
        self._write_done()

    @property
    def _server(self) -> Server:
        server = self._manager
        assert isinstance(server, Server)
        return server

    def _expect_head(self) -> None:
        self._head_timer = asyncio.get_running_loop().call_later(self._server.head_seconds, self.force_close)

    def _head_done(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _expect_progress(self) -> None:
        if self.transport is not None:
            left = self.transport.get_write_buffer_size()
            loop = asyncio.get_running_loop()
            self._write_timer = loop.call_later(self._server.write_seconds, self._require_progress, left)

    def _require_progress(self, before: int) -> None:
        if self.transport is not None and self.transport.get_write_buffer_size() >= before:
            self.transport.abort()
        else:
            self._expect_progress()

    def _write_done(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None


def _end_of_chunks(data: bytes | bytearray) -> int:
    """Return where a chunked body that ends in `data` ends at the latest: at its last empty line."""
    return data.rfind(END_OF_HEAD) + len(END_OF_HEAD)


class Server(web.Server):
    """Makes connections and counts them, in all and by peer."""

    def __init__(
        self, *arguments: Any, deadlines: Deadlines, per_peer: int, is_proxy: Callable[[str], bool], **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self.head_seconds, self.write_seconds = deadlines.head, deadlines.write
        self._per_peer = per_peer
        self._is_proxy = is_proxy
        self._peers: Counter[str] = Counter()
        self._open = 0

    @property
    def open(self) -> int:
        """How many connections there are."""
        return self._open

    def __call__(self) -> Connection:
        """Return the protocol of a new connection."""
        return Connection(self, loop=self._loop, **self._kwargs)

    def _make_request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.Request:
        return web.Request(message, payload, protocol, writer, task, self._loop)

    def admit(self, peer: str) -> bool:
        """Count a connection and return whether it may stay; a proxy's are many peers', a unix socket's nobody's."""
        self._open += 1
        self._peers[peer] += 1
        few = self._peers[peer] <= self._per_peer or self._is_proxy(peer)
        return not peer or (few and self._open <= CONNECTIONS)

    def release(self, peer: str) -> None:
        """Forget a connection."""
        self._open -= 1
        self._peers[peer] -= 1
        if self._peers[peer] <= 0:
            del self._peers[peer]


class Runner(web.ServerRunner):
    """Runs the server until it is cleaned up; `handler` answers every request."""

    def __init__(
        self,
        handler: Callable[[web.Request], Awaitable[Answer]],
        *,
        deadlines: Deadlines | None = None,
        per_peer: int = CONNECTIONS_PER_PEER,
        is_proxy: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """Needs a running loop."""
        server = Server(
            as_aiohttp(handler),
            deadlines=deadlines or Deadlines(),
            per_peer=per_peer,
            is_proxy=is_proxy,
            handler_cancellation=True,
            auto_decompress=False,
            keepalive_timeout=KEEPALIVE_SECONDS,
            # The rest of a body that is too large is read for a moment, so that the refusal is not lost in a reset.
            lingering_time=LINGERING_SECONDS,
            access_log=None,
        )
        super().__init__(server, shutdown_timeout=CLOSE_SECONDS)
        self.listener = server
        """What counts the connections."""
