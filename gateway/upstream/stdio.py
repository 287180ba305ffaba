"""MCP over the standard streams of a process: one pipe for all requests, told apart by ids and tokens of our own."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.errors import UpstreamFailed
from gateway.mcp.answers import ServerRequest, Unusable, parse_any
from gateway.mcp.lines import progress_token, topic
from gateway.mcp.subscriptions import CHANGES
from gateway.upstream import outgoing
from gateway.upstream.failures import MAX_ANSWER_BYTES
from gateway.upstream.inbox import Inbox
from gateway.upstream.process import Ended, Process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from gateway.mcp.answers import Answer
    from gateway.mcp.lines import Token
    from gateway.model import Principal
    from gateway.upstream.stderr import Voice
    from gateway.upstream.stream import Reply

LOG = logging.getLogger("portcullis.stdio")

# What a process may say that is about nothing that is under way, between two answers and in so long a time; however
# short, a line has its price, because reading one is what costs.
MAX_CHATTER_BYTES = MAX_ANSWER_BYTES
LINE_BYTES = 256
CHATTER_SECONDS = 60.0


class Asking:
    """Writes a request when it is entered, and gives back what comes; left before the answer, it takes that back.

    Without an `id_` nothing is written, and what comes is what the process says of nothing that was asked.
    """

    __slots__ = ("_body", "_id", "_inbox", "_pipe", "_token")

    def __init__(self, pipe: Pipe, inbox: Inbox, id_: int | None, body: bytes, token: Token | None = None) -> None:
        self._pipe = pipe
        self._inbox = inbox
        self._id = id_
        self._body = body
        self._token = token

    async def __aenter__(self) -> Inbox:
        if self._id is None:
            self._pipe.attend(self._inbox)
            return self._inbox
        self._pipe.expect(self._id, self._inbox, self._token)
        try:
            await self._pipe.write(self._body)
        except BaseException:
            self._pipe.forget(self._id, self._token)
            raise
        return self._inbox

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._id is None:
            self._pipe.ignore(self._inbox)
            return
        self._pipe.forget(self._id, self._token)
        if not self._inbox.ended:
            self._pipe.take_back(self._id)


class Pipe:
    """A process as whoever asks it sees it: the same as `http.Endpoint`, without headers and sessions.

    `settled` is set once the process is known to speak the protocol: before, nothing that was sent is taken back,
    because an older server may end at the first message that it does not expect.
    """

    # Silence is how some older servers answer what they do not know.
    silence_means_older = True
    is_one_session = True

    def __init__(self, server: str, voice: Voice) -> None:
        self.process = Process(self._heard, voice.hear, self._ended)
        self.settled = False
        self.on_end: Callable[[], None] = lambda: None
        """Called once, when the process can say nothing more."""
        self.changed = False
        """Whether the process said that what it offers is not what it was."""
        self._server = server
        self._under_way: dict[int, Inbox] = {}
        self._tokens: dict[Token, int] = {}
        self._attending: list[Inbox] = []
        self._chatter = 0
        self._chatter_until = 0.0
        self._odd = False

    def naming(self, caller: Principal) -> Mapping[str, str]:  # noqa: ARG002 (as over HTTP)
        """Return nothing: a process is told its tenant when it is started."""
        return {}

    async def ask(self, id_: int, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Write request `id_` and return its answer; what the server asks on the way is refused."""
        async with Asking(self, Inbox(self._server, MAX_ANSWER_BYTES), id_, body) as inbox:
            async for message in inbox:
                self.refuse(message, headers)
        return inbox.reply

    def stream(self, id_: int, body: bytes, headers: Mapping[str, str], max_bytes: int | None = None) -> Asking:  # noqa: ARG002 (as over HTTP)
        """Write request `id_`; entered with `async with` it gives the messages before its answer, and then that."""
        return Asking(self, Inbox(self._server, max_bytes), id_, body, progress_token(body))

    def listen(self, headers: Mapping[str, str], id_: int | None = None) -> Asking:  # noqa: ARG002 (as over HTTP)
        """Hear what the process says that answers nothing, until it ends."""
        return Asking(self, Inbox(self._server, None), None, b"")

    def refuse(self, message: ServerRequest, headers: Mapping[str, str]) -> None:  # noqa: ARG002 (as over HTTP)
        """Answer what a server asked with a no; what it only told needs no answer."""
        if message.id is not None:
            self.process.write_now(outgoing.refusal(message.id, message.method))

    def abandon(self, id_: int, headers: Mapping[str, str]) -> None:
        """Do nothing: in either era it was said when its inbox was left."""

    async def tell(self, body: bytes, headers: Mapping[str, str]) -> None:  # noqa: ARG002 (as over HTTP)
        """Write what wants no answer."""
        await self.write(body)

    async def courtesy(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Write what wants no answer and what may well get lost."""
        with suppress(UpstreamFailed):
            await self.tell(body, headers)

    async def leave(self, headers: Mapping[str, str]) -> None:
        """Do nothing: the process is the session."""

    async def close(self) -> None:
        """End the process."""
        await self.process.stop()

    async def write(self, body: bytes) -> None:
        """Write a message; raises UpstreamFailed where nobody reads it."""
        try:
            await self.process.write(body)
        except Ended as error:
            raise UpstreamFailed(self._server, str(error)) from error

    def expect(self, id_: int, inbox: Inbox, token: Token | None) -> None:
        """Put into the inbox what comes for a request."""
        self._under_way[id_] = inbox
        if token is not None:
            self._tokens[token] = id_

    def forget(self, id_: int, token: Token | None) -> None:
        """Drop what still comes for a request."""
        self._under_way.pop(id_, None)
        if token is not None:
            self._tokens.pop(token, None)

    def take_back(self, id_: int) -> None:
        """Tell the server that nobody waits for an answer any more (basic/patterns/cancellation)."""
        if self.settled:
            body = outgoing.notification("notifications/cancelled", {"requestId": id_})
            self.process.write_now(body, squeezing=True)

    def attend(self, inbox: Inbox) -> None:
        """Put into the inbox what is about nothing that is under way."""
        self._attending.append(inbox)
        if self.process.ended:
            inbox.fail(self.process.why)

    def ignore(self, inbox: Inbox) -> None:
        """Do so no more."""
        self._attending.remove(inbox)

    def _heard(self, line: bytes) -> None:
        if self._taken(line):
            return
        now = asyncio.get_running_loop().time()
        if now >= self._chatter_until:
            self._chatter, self._chatter_until = 0, now + CHATTER_SECONDS
        self._chatter += LINE_BYTES + len(line)
        if self._chatter > MAX_CHATTER_BYTES:
            self.process.fail("says too much that nobody asked for")

    def _taken(self, line: bytes) -> bool:
        """Give a message to whom it is for, and return whether there was somebody."""
        if not line or line.isspace():
            return False
        try:
            found = parse_any(line)
        except Unusable as error:
            self._warn(error)
            return False
        if not isinstance(found, ServerRequest):
            return self._answered(*found)
        return self._asked(found) if found.id is not None else self._told(found)

    def _answered(self, id_: bytes, answer: Answer) -> bool:
        # Late answers to what was taken back are nothing strange.
        inbox = self._under_way.pop(int(id_), None) if id_.isdigit() and len(id_) < 20 else None
        if inbox is None:
            return False
        inbox.finish(answer)
        self._chatter = 0
        return True

    def _asked(self, message: ServerRequest) -> bool:
        """Pass a question on to the one request that it can be about; where there are several, nobody knows which."""
        inboxes = tuple(self._under_way.values())
        if len(inboxes) != 1 or not inboxes[0].put(message):
            self.refuse(message, {})
            return False
        return True

    def _told(self, message: ServerRequest) -> bool:
        """Pass a notification on to the request that it names, or else to who hears those that are about none."""
        token, id_ = topic(message)
        if token is not None:
            id_ = self._tokens.get(token)
        inbox = self._under_way.get(id_) if isinstance(id_, int) else None
        if inbox is not None:
            # Whether there is room for it is its reader's affair.
            inbox.put(message)
            return True
        if message.method in CHANGES:
            self.changed = True
        if token is not None or not message.method.endswith(("/list_changed", "/updated")):
            # It is somebody's, and nobody can say whose: log messages name no request.
            return False
        taken = [inbox.put(message) for inbox in self._attending]
        return any(taken)

    def _warn(self, error: Unusable) -> None:
        if not self._odd:
            self._odd = True
            LOG.warning("%s writes to its stdout what is no message: it %s", self._server, error)

    def _ended(self) -> None:
        for inbox in (*self._under_way.values(), *self._attending):
            inbox.fail(self.process.why)
        self.on_end()
