"""What comes back for one request over a pipe that many share: messages one by one, and at their end the reply."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Self

from gateway.errors import UpstreamFailed
from gateway.upstream.failures import BROKE_OFF, MAX_ANSWER_BYTES
from gateway.upstream.stream import Reply

if TYPE_CHECKING:
    from gateway.mcp.answers import Answer, ServerRequest

# What may lie unread of one request. Beyond it notifications are dropped: on a pipe that many share, whoever does not
# keep up must not hold up the others.
MAX_UNREAD_BYTES = 256 * 1024
OK = 200


class Inbox:
    """What comes back for one request: everything before the answer as it is iterated over, and at the end `reply`.

    Whatever fails is UpstreamFailed. `max_bytes` bounds all messages together.
    """

    __slots__ = ("_error", "_messages", "_reply", "_room", "_server", "_unread", "_waiter")

    status = OK
    session = None
    last_event_id = None
    retry = None

    def __init__(self, server: str, max_bytes: int | None) -> None:
        self._server = server
        self._room = max_bytes
        self._messages: deque[ServerRequest] = deque()
        self._unread = 0
        self._reply: Reply | None = None
        self._error: UpstreamFailed | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more comes."""
        return self._reply is not None or self._error is not None

    @property
    def reply(self) -> Reply:
        """What came at the end; raises UpstreamFailed before it."""
        if self._reply is None:
            raise self._error or UpstreamFailed(self._server, BROKE_OFF)
        return self._reply

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ServerRequest:
        while not self._messages:
            if self._error is not None:
                raise self._error
            if self._reply is not None:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        message = self._messages.popleft()
        self._unread -= len(message.body)
        return message

    def put(self, message: ServerRequest) -> bool:
        """Take a message; False where there is no room for it."""
        if self.ended or self._unread > MAX_UNREAD_BYTES:
            return False
        size = len(message.body)
        if self._room is not None:
            self._room -= size
            if self._room < 0:
                # Chatter that never comes to an answer is no better than one answer that never ends.
                self.fail(f"answered more than {MAX_ANSWER_BYTES // 1024 // 1024} MiB")
                return False
        self._messages.append(message)
        self._unread += size
        self._wake()
        return True

    def finish(self, answer: Answer) -> None:
        """Take the answer."""
        self._reply = Reply(OK, answer)
        self._wake()

    def fail(self, why: str) -> None:
        """Say to whoever reads on that no answer comes."""
        if not self.ended:
            self._error = UpstreamFailed(self._server, why)
            self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
