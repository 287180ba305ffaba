"""An answer with no more ceremony than aiohttp's connection asks of one: a head and a body, in one write.

`web.Response` costs as much as a decision: it parses what it is given, copies its headers twice and looks for cookies,
compression and ranges that MCP has no use for. The head is still written by aiohttp, which refuses line breaks in it.
"""

from __future__ import annotations

import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from aiohttp import web

# Up to here, copying pieces together is cheaper than handing them on one by one.
COPIED_BYTES = 16_384
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class Answer(Protocol):
    """What every handler returns, this module's reply or a response of aiohttp's."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> MutableMapping[str, str]:
        """The headers, which may be added to until the answer is sent."""


class Reply:
    """A whole body under a status, as JSON unless it is empty; sent by aiohttp's RequestHandler, and never twice."""

    __slots__ = ("_length", "_request", "headers", "keep_alive", "pieces", "status")

    def __init__(self, status: int, headers: dict[str, str], *pieces: bytes) -> None:
        """Take the headers, which are the reply's own from then on, and the body's pieces, which are not copied."""
        self.status = status
        self.headers = headers
        self.pieces = pieces
        self.keep_alive: bool | None = None
        self._length = sum(map(len, pieces))
        self._request: web.BaseRequest | None = None

    async def prepare(self, request: web.BaseRequest) -> None:
        """Make the head; aiohttp calls this once, before `write_eof`."""
        self._request = request
        self.keep_alive = request.keep_alive
        headers = self.headers
        if self.pieces:
            headers.setdefault("Content-Type", "application/json")
        headers["Content-Length"] = str(self._length)
        headers["Date"] = _date(int(time.time()))
        if not self.keep_alive:
            headers["Connection"] = "close"
        line = f"HTTP/1.1 {self.status} {_REASONS[self.status]}"
        await request.writer.write_headers(line, headers)  # type: ignore[arg-type]

    async def write_eof(self) -> None:
        """Send head and body together: what is written in one turn of the loop leaves in one system call."""
        assert self._request is not None
        writer, transport = self._request.writer, self._request.transport
        if self._length <= COPIED_BYTES or transport is None:
            await writer.write_eof(b"".join(self.pieces))
            return
        writer.send_headers()
        # All pieces at once, so that the deadline for a peer that takes nothing starts from all that is left to take.
        transport.writelines(self.pieces)
        await writer.drain()


def as_aiohttp(handler: Callable[[web.Request], Awaitable[Answer]]) -> Callable[[Any], Awaitable[web.StreamResponse]]:
    """Return a handler under aiohttp's own type for them: of a response it asks for no more than a Reply has."""
    return cast("Callable[[Any], Awaitable[web.StreamResponse]]", handler)


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
