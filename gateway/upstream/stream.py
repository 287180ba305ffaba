"""What one request brings back from a server: its messages one by one as they arrive, and at their end the reply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from gateway.errors import UpstreamFailed
from gateway.mcp.answers import Answer, ServerRequest, Unusable, parse
from gateway.mcp.headers import SESSION
from gateway.mcp.sse import Events, TooLong
from gateway.upstream.failures import BROKE_OFF, FAILURES, MAX_ANSWER_BYTES, failure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from gateway.http1.head import Head
    from gateway.mcp.sse import Event
    from gateway.upstream.connections import Connections
    from gateway.upstream.exchange import Exchange

MAX_ERROR_BYTES = 64 * 1024

_SESSION = SESSION.lower().encode()
_JSON = b"application/json"
_EVENTS = b"text/event-stream"


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer. `answer` is None where the body is no JSON-RPC answer; `session` is the id that came along."""

    status: int
    answer: Answer | None = None
    session: str | None = None

    @property
    def error_code(self) -> int | None:
        """The code of the JSON-RPC error that it is, None where it is none."""
        return self.answer.error.code if self.answer and self.answer.error else None


class Stream:
    """What a server answers: `status` and `content_type` are known, the messages come as they are iterated over.

    It iterates over everything that the server sends before the answer, and ends with the answer: `reply` is known
    then. Nothing is read from the server that there is no room for. Whatever fails is UpstreamFailed.
    """

    __slots__ = (
        "_events",
        "_exchange",
        "_head",
        "_id",
        "_media_type",
        "_pending",
        "_reply",
        "_room",
        "_server",
        "last_event_id",
        "retry",
    )

    def __init__(self, server: str, exchange: Exchange, head: Head, id_: int | None, max_bytes: int | None) -> None:
        self._server = server
        self._exchange = exchange
        self._head = head
        self._media_type = head.media_type
        self._id = id_
        self._room = max_bytes
        self._events = Events(MAX_ANSWER_BYTES) if self._media_type == _EVENTS else None
        self._pending: Iterator[Event] = iter(())
        self._reply: Reply | None = None
        self.last_event_id: bytes | None = None
        """Where the stream can be taken up again, if the server said so."""
        self.retry: int | None = None
        """In how many milliseconds that may be done at the earliest."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._head.status

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters."""
        return self._media_type.decode("latin-1")

    @property
    def session(self) -> str | None:
        """The session that the server names."""
        value = self._head.fields.get(_SESSION)
        # As text that becomes the same bytes again.
        return None if value is None else value.decode("utf-8", "surrogateescape")

    @property
    def ended(self) -> bool:
        """Whether all has been read that was to be read."""
        return self._reply is not None

    @property
    def reply(self) -> Reply:
        """What came at the end; raises UpstreamFailed before it."""
        if self._reply is None:
            raise UpstreamFailed(self._server, BROKE_OFF)
        return self._reply

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ServerRequest:
        try:
            while self._reply is None:
                for event in self._pending:
                    message = parse(event.data, self._id) if event.data else ServerRequest("", None, b"")
                    if isinstance(message, ServerRequest):
                        if event.id is not None or event.retry is not None:
                            self._note(event, message)
                        return message
                    self._reply = Reply(self.status, message, self.session)
                    raise StopAsyncIteration
                await self._read()
        except FAILURES as error:
            raise failure(self._server, error) from error
        raise StopAsyncIteration

    def _note(self, event: Event, message: ServerRequest) -> None:
        message.event_id, message.retry = event.id, event.retry
        # An empty id takes back the ones before it.
        self.last_event_id = self.last_event_id if event.id is None else event.id or None
        self.retry = self.retry if event.retry is None else event.retry

    async def _read(self) -> None:
        """Take in what the server sent next: some events, or all that there is where there are none."""
        if self._head.encoded:
            raise Unusable("answered compressed, unasked")
        if self._head.status >= 400:
            self._reply = Reply(self.status, await self._error_answer(), self.session)
        elif self._events is None:
            self._reply = Reply(self.status, await self._whole_answer(), self.session)
        elif chunk := await self._exchange.read():
            self._require_room(len(chunk))
            self._pending = iter(self._events.feed(chunk))
        else:
            self._reply = self._ended()

    def _ended(self) -> Reply:
        if self._id is not None:
            raise Unusable(BROKE_OFF)
        return Reply(self.status, None, self.session)

    def _require_room(self, size: int) -> None:
        # Chatter that never comes to an answer is no better than one event that never ends.
        if self._room is not None:
            self._room -= size
            if self._room < 0:
                raise TooLong

    async def _whole_answer(self) -> Answer:
        if self._id is None:
            raise Unusable("did not answer with a stream")
        if self._media_type != _JSON:
            raise Unusable("did not answer with JSON")
        answer = parse(await self._body(MAX_ANSWER_BYTES), self._id)
        if isinstance(answer, ServerRequest):
            raise Unusable("answered with a request of its own")
        return answer

    async def _error_answer(self) -> Answer | None:
        """Return the JSON-RPC error in an HTTP error, if it is one about this very request."""
        try:
            message = parse(await self._body(MAX_ERROR_BYTES), self._id)
        except (Unusable, TooLong):
            return None
        return message if isinstance(message, Answer) and message.error else None

    async def _body(self, max_bytes: int) -> bytes:
        if (self._head.length or 0) > max_bytes:
            raise TooLong
        parts, size = [], 0
        while part := await self._exchange.read():
            parts.append(part)
            size += len(part)
            if size > max_bytes:
                raise TooLong
        return parts[0] if len(parts) == 1 else b"".join(parts)


class Sending:
    """Sends a request when it is entered, and gives back what is answered.

    Left before the answer has come to its end, it closes the connection: that tells a modern server to stop working on
    it (2026-07-28, patterns/cancellation). With `enough`, the head is all that is wanted.
    """

    __slots__ = ("_connections", "_enough", "_exchange", "_id", "_max_bytes", "_request", "_server", "_stream")

    def __init__(
        self,
        server: str,
        connections: Connections,
        request: bytes,
        *,
        id_: int | None = None,
        max_bytes: int | None = None,
        enough: bool = False,
    ) -> None:
        """`id_` is the request that is answered, None where none is; `max_bytes` bounds all messages together."""
        self._server = server
        self._connections = connections
        self._request = request
        self._id = id_
        self._max_bytes = max_bytes
        self._enough = enough
        self._exchange: Exchange | None = None
        self._stream: Stream | None = None

    async def __aenter__(self) -> Stream:
        try:
            self._exchange = exchange = await self._connections.send(self._request)
            head = await exchange.head()
            if 300 <= head.status < 400:
                raise Unusable(f"answered {head.status}, and redirects are not followed")
        except FAILURES as error:
            self._close()
            raise failure(self._server, error) from error
        except BaseException:
            self._close()
            raise
        self._stream = Stream(self._server, exchange, head, self._id, self._max_bytes)
        return self._stream

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._exchange is not None and (self._enough or (self._stream is not None and self._stream.ended)):
            self._exchange.leave()
        else:
            self._close()

    def _close(self) -> None:
        if self._exchange is not None:
            self._exchange.close()
