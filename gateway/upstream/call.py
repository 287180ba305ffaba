"""What the corridor asks of a server on an agent's behalf, and the way back to it while it is at work."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.errors import UpstreamFailed
from gateway.mcp.agent import Agent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping

    from gateway.mcp.answers import ServerRequest
    from gateway.model import Principal
    from gateway.upstream.peer import Peer

    Hear = Callable[[ServerRequest, "Link"], Awaitable[None]]


class Parted(UpstreamFailed):
    """The server closed the stream, and goes on with it when whoever holds its last event's id comes back."""

    def __init__(self, server: str) -> None:
        super().__init__(server, "closed the stream, to be taken up again")


@dataclass(frozen=True, slots=True)
class Position:
    """Where a stream of an older server can be taken up again: after `event`, of the answer to `request`.

    `request` is None on a stream that answers nothing; `session` and `event` are what the server calls them.
    """

    server: str
    session: str | None
    version: str
    request: int | None
    event: str


class Call(msgspec.Struct, frozen=True):
    """A request for one named thing of a server.

    `members` are its parameters beside the name and `_meta`; `caller` is who asks, and a session at the server is for
    `whose`. What the server says before it answers goes to `hear`; without that it is refused, or dropped. `naming` are
    the headers that say whose call it is, which the server's side fills in.
    """

    method: str
    name: str
    members: Mapping[str, Any]
    meta: Mapping[str, Any]
    caller: Principal
    whose: Hashable
    agent: Agent = Agent()
    token: int | None = None
    hear: Hear | None = None
    naming: Mapping[str, str] = {}

    def named(self, naming: Mapping[str, str]) -> Call:
        """Return the call with the headers that say whose it is."""
        return msgspec.structs.replace(self, naming=naming) if naming else self


class Patience:
    """The time that a server has for an answer; it stands still while an agent is asked something."""

    __slots__ = ("_left", "_timeout", "_waiting")

    def __init__(self, timeout: asyncio.Timeout) -> None:
        self._timeout = timeout
        self._waiting = 0
        self._left = 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Stand still for as long as the block lasts; blocks may overlap."""
        loop = asyncio.get_running_loop()
        due = self._timeout.when()
        if not self._waiting and due is not None:
            self._left = due - loop.time()
            self._reschedule(None)
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._reschedule(loop.time() + self._left)

    def _reschedule(self, when: float | None) -> None:
        # The call may be over while a question of its server is still being taken back.
        with suppress(RuntimeError):
            self._timeout.reschedule(when)


class Link:
    """The way back to a server that says something before it answers.

    `held` once an agent was given the id of an event, by which it can come back; `parted` once it has left to do so.
    """

    __slots__ = ("_headers", "_patience", "_peer", "held", "parted", "place")

    def __init__(
        self, peer: Peer, headers: Mapping[str, str], patience: Patience | None, place: Position | None = None
    ) -> None:
        """`place` is where the stream is, whatever its event; None at a server that keeps no sessions."""
        self._peer = peer
        self._headers = headers
        self._patience = patience
        self.place = None if place is None or place.session is None or not place.session.isascii() else place
        self.held = False
        self.parted = False

    async def answer(self, body: bytes) -> None:
        """Post the answer to what the server asked; raises UpstreamFailed where it does not take it."""
        await self._peer.tell(body, self._headers)

    def refuse(self, message: ServerRequest) -> None:
        """Say no to what the server asked, and hear what it told beside; a ping is answered."""
        self._peer.refuse(message, self._headers)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let the server's time stand still while somebody else is waited for."""
        if self._patience is None:
            yield
        else:
            with self._patience.waiting():
                yield

    def position(self, event_id: bytes) -> Position | None:
        """Return where the stream is after an event, None where it cannot be taken up again."""
        if self.place is None or not event_id or not event_id.isascii():
            return None
        return replace(self.place, event=event_id.decode())
