"""An answer that is a stream of events: written as they come, as many at once as one turn of the loop brings."""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from typing import TYPE_CHECKING

from gateway.mcp import sse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

# What waits to be written at the end of a turn of the loop; more is written at once.
BATCH_BYTES = 32 * 1024
HEADERS: Mapping[str, str] = {
    "Content-Type": sse.MEDIA_TYPE,
    "Cache-Control": "private, no-store",
    # nginx would otherwise collect what is to arrive now.
    "X-Accel-Buffering": "no",
}


class EventStream:
    """One such answer; sent by aiohttp's RequestHandler at its end, and by itself before.

    What is written after the agent has gone is dropped: whoever writes is told by `gone`, and aiohttp by cancelling.
    """

    __slots__ = ("_batch", "_loop", "_protocol", "_size", "_started", "_writer", "headers", "keep_alive")

    status = 200

    def __init__(self, request: web.BaseRequest, headers: Mapping[str, str]) -> None:
        """`headers` go along with those of every stream."""
        self._writer = request.writer
        self._protocol = request.protocol
        self._loop = asyncio.get_running_loop()
        self._batch: list[bytes] = []
        self._size = 0
        self._started = False
        self.keep_alive: bool | None = request.keep_alive
        self.headers = {**headers, **HEADERS, "Transfer-Encoding": "chunked"}

    @property
    def gone(self) -> bool:
        """Whether nobody reads any more."""
        return self._protocol.transport is None or self._protocol.transport.is_closing()

    async def prepare(self, _request: web.BaseRequest) -> None:
        """Send the head, once."""
        if self._started:
            return
        self._started = True
        self._writer.enable_chunking()
        if not self.keep_alive:
            self.headers["Connection"] = "close"
        self.headers["Date"] = formatdate(usegmt=True)
        await self._writer.write_headers("HTTP/1.1 200 OK", self.headers)  # type: ignore[arg-type]
        if not self.gone:
            self._writer.send_headers()

    def put(self, events: bytes) -> None:
        """Have whole events written by the end of this turn of the loop."""
        self._batch.append(events)
        self._size += len(events)
        if len(self._batch) == 1:
            self._loop.call_soon(self._flush)
        if self._size >= BATCH_BYTES:
            self._flush()

    async def room(self) -> None:
        """Wait until the agent has taken enough of what was written; raises ConnectionError where it has gone."""
        if self._protocol.writing_paused:
            await self._writer.drain()

    async def write_eof(self) -> None:
        """Write what is left, and the end."""
        self._flush()
        await self._writer.write_eof()

    def _flush(self) -> None:
        if not self._batch or not self._started:
            return
        data = self._batch[0] if len(self._batch) == 1 else b"".join(self._batch)
        self._batch, self._size = [], 0
        transport = self._protocol.transport
        if transport is not None and not transport.is_closing():
            transport.write(b"%x\r\n%b\r\n" % (len(data), data))
