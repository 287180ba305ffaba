"""Requests to one server in the way of either era, and what it says before it answers."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Any

from gateway.errors import UpstreamFailed
from gateway.mcp.headers import LAST_EVENT, NAMED_BY
from gateway.mcp.params import outgoing as repeated
from gateway.upstream import outgoing
from gateway.upstream.call import Link, Parted, Position
from gateway.upstream.era import Legacy
from gateway.upstream.failures import BROKE_OFF, MAX_ANSWER_BYTES, BrokeOff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from gateway.mcp.answers import Answer, ServerRequest
    from gateway.mcp.params import ParamHeaders
    from gateway.upstream.call import Call, Hear, Patience
    from gateway.upstream.era import Modern
    from gateway.upstream.errands import Errands
    from gateway.upstream.peer import Incoming, Peer
    from gateway.upstream.stream import Reply

# When a stream is taken up again, where the server does not say; and within which bounds it may say so.
RETRY_SECONDS = 1.0
MIN_RETRY_SECONDS, MAX_RETRY_SECONDS = 0.05, 60.0
_OF_ROUNDS = frozenset({"inputResponses", "requestState"})


class Wire:
    """Sends each request once, under an id that is used once."""

    def __init__(self, server: str, peer: Peer, errands: Errands) -> None:
        self._server = server
        self._peer = peer
        self._errands = errands
        self.ids: Iterator[int] = count(1)

    async def modern(
        self, method: str, params: Mapping[str, Any], headers: Mapping[str, str],
        hear: Hear | None = None, patience: Patience | None = None,
    ) -> Reply:  # fmt: skip
        """Ask a server of 2026-07-28; left before the answer, it is told so by the end of the connection."""
        id_ = next(self.ids)
        body = outgoing.request(id_, method, params)
        if hear is None:
            return await self._peer.ask(id_, body, headers)
        link, hear = Link(self._peer, headers, patience), self._heard(hear)
        async with self._peer.stream(id_, body, headers) as stream:
            async for message in stream:
                await hear(message, link)
        return stream.reply

    async def legacy(
        self, session: Legacy, method: str, params: Mapping[str, Any],
        hear: Hear | None = None, patience: Patience | None = None,
    ) -> Reply:  # fmt: skip
        """Ask an older server; left before the answer, it is told so by a notification.

        Raises Parted where the stream ended before the answer and the agent can take it up again.
        """
        id_ = next(self.ids)
        headers = session.headers
        body = outgoing.request(id_, method, params)
        place = Position(self._server, session.session, session.version, id_, "")
        link = Link(self._peer, headers, patience, place)
        try:
            if hear is None and session.session is None:
                return await self._peer.ask(id_, body, headers)
            sending = self._peer.stream(id_, body, headers, None if hear else MAX_ANSWER_BYTES)
            return await self._followed(sending, link, self._heard(hear), id_, headers)
        except asyncio.CancelledError:
            if not link.parted:
                self._peer.abandon(id_, headers)
            raise

    def list_page(self, era: Modern | Legacy, method: str, cursor: str | None) -> Awaitable[Reply]:
        """Ask for one page of a list, the first where there is no cursor."""
        params: dict[str, Any] = {} if cursor is None else {"cursor": cursor}
        if isinstance(era, Legacy):
            return self.legacy(era, method, params)
        params["_meta"] = outgoing.modern_meta(era.version, {})
        return self.modern(method, params, outgoing.modern_headers(era.version, method))

    async def resumed(self, session: Legacy, place: Position, hear: Hear, patience: Patience) -> Reply:
        """Take up the stream of a request again; raises as `legacy` does, and where the server does not know it."""
        assert place.request is not None
        headers = session.headers
        link = Link(self._peer, headers, patience, place)
        sending = self._peer.listen(headers | {LAST_EVENT: place.event}, place.request)
        return self._required(await self._followed(sending, link, hear, place.request, headers))

    async def tell(self, session: Legacy, body: bytes) -> None:
        """Tell an older server what wants no answer and may get lost."""
        await self._peer.courtesy(body, session.headers)

    def leave(self, session: Legacy) -> None:
        """Say goodbye."""
        if session.session is not None:
            self._errands.run(self._peer.leave(session.headers))

    async def _followed(
        self,
        sending: AbstractAsyncContextManager[Incoming],
        link: Link,
        hear: Hear,
        id_: int,
        headers: dict[str, str],
    ) -> Reply:
        """Return the answer at the end of a stream that may be closed and taken up again on the way to it."""
        follows = False
        while True:
            async with sending as stream:
                try:
                    async for message in stream:
                        await hear(message, link)
                    # Whatever a server says to having its stream taken up, the request itself was sent before.
                    return self._required(stream.reply) if follows else stream.reply
                except BrokeOff:
                    if stream.last_event_id is None or link.position(stream.last_event_id) is None:
                        raise
            if link.held:
                raise Parted(self._server)
            await asyncio.sleep(pause_of(stream))
            event = stream.last_event_id.decode("ascii", "replace")
            sending, follows = self._peer.listen(headers | {LAST_EVENT: event}, id_), True

    def _heard(self, hear: Hear | None) -> Hear:
        """Return what hears a server: of a session that is everybody's nobody is asked anything."""
        if hear is None:
            return unheard
        return unasked(hear) if self._peer.is_one_session else hear

    def _required(self, reply: Reply) -> Reply:
        if reply.answer is None:
            raise UpstreamFailed(self._server, BROKE_OFF)
        return reply


async def unheard(message: ServerRequest, link: Link) -> None:
    """Refuse what a server says where nobody hears it."""
    link.refuse(message)


def unasked(hear: Hear) -> Hear:
    """Return what hears what a server tells, and refuses what it asks."""

    async def told(message: ServerRequest, link: Link) -> None:
        if message.id is None:
            await hear(message, link)
        else:
            link.refuse(message)

    return told


def pause_of(stream: Incoming) -> float:
    """Return how many seconds to wait before a stream is taken up again."""
    if stream.retry is None:
        return RETRY_SECONDS
    return min(max(stream.retry / 1000, MIN_RETRY_SECONDS), MAX_RETRY_SECONDS)


def of_known_kind(server: str, answer: Answer) -> Answer:
    """Return an answer of a kind that is asked for here; raises UpstreamFailed for another."""
    kind = answer.result.get("resultType")
    if kind is not None and bytes(kind) not in (b'"complete"', b'"input_required"'):
        raise UpstreamFailed(server, "answered with a kind of result that was not asked for")
    return answer


def modern_call(call: Call, version: str) -> dict[str, Any]:
    """Return the parameters of a call as a server of 2026-07-28 wants them."""
    meta = outgoing.modern_meta(version, call.meta, call.agent, call.token)
    return outgoing.params_of(call.method, call.name, call.members, meta)


def modern_headers(call: Call, version: str, wanted: ParamHeaders) -> dict[str, str]:
    """Return the headers of a call to a server of 2026-07-28, which wants these arguments repeated in them."""
    headers = outgoing.modern_headers(version, call.method, call.name if call.method in NAMED_BY else None)
    if wanted:
        headers.update(repeated(wanted, call.members.get("arguments") or {}))
    return {**call.naming, **headers} if call.naming else headers


def legacy_call(call: Call) -> dict[str, Any]:
    """Return the parameters of a call as an older server wants them, which knows no rounds."""
    members = {name: value for name, value in call.members.items() if name not in _OF_ROUNDS}
    return outgoing.params_of(call.method, call.name, members, outgoing.legacy_meta(call.meta, call.token))
