"""The HTTP side of one request that may become a stream: undecided until there is something to say, or time has passed.

As long as nothing was said the answer is one JSON body under its own status. The first notification makes it a stream,
and so do fifteen seconds where the agent asked for streams by name: whoever stands between would hang up.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from gateway.endpoints.common import add_common_headers
from gateway.endpoints.event_stream import EventStream
from gateway.errors import TooManyStreams
from gateway.mcp import sse
from gateway.mcp.headers import accepted

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from gateway.endpoints.gate import Gate
    from gateway.endpoints.reply import Answer, Reply
    from gateway.outlet import Check
    from gateway.pulse import Pulse
    from gateway.recording import Caller
    from gateway.streams import Listener, Stream, Streams

PULSE_SECONDS = 15.0


class Lines(NamedTuple):
    """What keeps streams going: who says whether a credential is still good, the beat, and the register."""

    gate: Gate
    pulse: Pulse
    streams: Streams


class HttpOutlet:
    """One request's; `task` works for it, and `ended` says why that was stopped, if it was."""

    __slots__ = (
        "_accepted",
        "_caller",
        "_lasting",
        "_left",
        "_lines",
        "_request",
        "_starting",
        "_stream",
        "_ticket",
        "_waiting",
        "check",
        "ended",
        "held",
        "listener",
        "open",
        "task",
    )

    def __init__(self, request: web.Request, lines: Lines, caller: Caller, *, lasting: bool = False) -> None:
        """`lasting` says that it answers nothing, and so has no end of its own."""
        self._request = request
        self._lines = lines
        self._caller = caller
        self._lasting = lasting
        self._accepted = accepted(request.headers)
        self._stream: EventStream | None = None
        self._ticket: Stream | None = None
        self._starting: asyncio.Task[None] | None = None
        self._left = False
        self._waiting: list[Callable[[], None]] = []
        self.check: Check | None = None
        self.listener: Listener | None = None
        """Is told what is new at servers."""
        self.task: asyncio.Task[object] | None = None
        self.ended: str | None = None
        self.held = False
        """Whether the agent has what it can come back with."""
        self.open = self._accepted.events
        """Whether something can be said before the answer."""
        if self._accepted.stream:
            lines.pulse.join(self)

    @property
    def started(self) -> bool:
        """Whether it is a stream by now."""
        return self._stream is not None

    async def begin(self) -> None:
        """Become a stream; raises TooManyStreams."""
        if self._stream is None:
            streams, principal = self._lines.streams, self._caller.principal
            self._ticket = streams.open(principal, self.end, self._still, lasting=self._lasting, listener=self.listener)
            headers: dict[str, str] = {}
            add_common_headers(headers, self._request, self._lines.gate.door.config)
            self._stream = EventStream(self._request, headers)
            self._lines.pulse.join(self)
        await self._stream.prepare(self._request)

    async def tell(self, message: bytes, event_id: str | None = None, retry: int | None = None) -> bool:
        """Say one message and wait until there is room for the next; False where the agent cannot hear it."""
        stream = self._stream
        if stream is None:
            if not self.open:
                return False
            try:
                await self.begin()
            except TooManyStreams:
                # The call goes on, and its answer will be all that the agent hears.
                self.open = False
            return self.open and await self.tell(message, event_id, retry)
        if self._left or stream.gone:
            return False
        stream.put(sse.written(message, event_id, retry))
        self.held = self.held or event_id is not None
        try:
            await stream.room()
        except ConnectionError:
            return False
        return True

    def beat(self) -> None:
        """Become a stream after so much silence, or keep one from being taken for dead."""
        if self._stream is not None:
            self._stream.put(sse.COMMENT)
        elif self.open:
            self._starting = asyncio.ensure_future(self._begin_if_there_is_room())

    async def _begin_if_there_is_room(self) -> None:
        try:
            await self.begin()
        except TooManyStreams:
            self.open = False

    def on_gone(self, left: Callable[[], None]) -> None:
        """Call `left` once the agent is not there any more, though its request goes on."""
        self._waiting.append(left)

    def leave(self) -> None:
        """The agent is gone, and its request goes on without it."""
        self._left, self.open = True, False
        for left in self._waiting:
            left()

    def end(self, why: str) -> None:
        """Stop the work, which has lost its right."""
        if self.task is not None and self.ended is None:
            self.ended = why
            self.task.cancel(why)

    def finished(self, reply: Reply) -> Answer:
        """Return what answers the request, at the end of a stream if there is one."""
        if self._stream is not None:
            if reply.pieces:
                self._stream.put(sse.written(b"".join(reply.pieces)))
            return self._stream
        return reply

    def close(self) -> None:
        """Let go of everything that kept it going."""
        self._lines.pulse.leave(self)
        self._waiting.clear()
        if self._ticket is not None:
            self._lines.streams.close(self._ticket)

    async def _still(self) -> int:
        await self._lines.gate.still(self._request, self._caller)
        return await self.check() if self.check is not None else 0
