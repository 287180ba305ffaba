"""One MCP server: which eras it speaks, its sessions, its share of what may be under way."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gateway.errors import UpstreamFailed
from gateway.in_flight import InFlight
from gateway.mcp.errors import HEADER_MISMATCH, UNSUPPORTED_VERSION
from gateway.single_flight import SingleFlight
from gateway.upstream.announced import Announced
from gateway.upstream.call import Patience
from gateway.upstream.era import Legacy, Modern, NoHandshake, handshake, probe, require_answer
from gateway.upstream.failures import named_failures
from gateway.upstream.listening import Listening
from gateway.upstream.offering import Offering
from gateway.upstream.sessions import Sessions
from gateway.upstream.wire import Wire, legacy_call, modern_call, modern_headers, of_known_kind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Mapping

    from gateway.mcp.answers import Answer
    from gateway.mcp.definitions import Offered
    from gateway.model import Principal
    from gateway.upstream.call import Call, Hear, Position
    from gateway.upstream.errands import Errands
    from gateway.upstream.peer import Peer
    from gateway.upstream.sessions import Seat
    from gateway.upstream.stream import Reply
    from gateway.upstream.target import Limits

_GONE = 404


class UpstreamServer:
    """One server; every failure of it is UpstreamFailed, and none of them lasts longer than its timeout."""

    def __init__(
        self,
        target: Limits,
        peer: Peer,
        errands: Errands,
        clock: Callable[[], float],
        announced: Announced | None = None,
    ) -> None:
        """`announced` hears what the server says of its lists; without it that is not listened to."""
        self.target = target
        self._name = target.server
        self._peer = peer
        self._errands = errands
        self.announced = announced or Announced(self._name, None)
        self._wire = Wire(self._name, peer, errands)
        self._era: Modern | Legacy | None = None
        # Whether a modern server knows the handshake, too; None until an agent that has shaken hands calls.
        self._shakes_hands: bool | None = None
        self._probing = SingleFlight(self._probe)
        self._sessions = Sessions(self._name, self._wire.leave, clock)
        self._listening = Listening(self._name, peer)
        self._offering = Offering(self._name, self._list_page)
        self.param_headers = self._offering.param_headers
        """Returns which arguments of a tool, by its name, are repeated in headers."""
        self._under_way = InFlight()

    @property
    def dropped(self) -> int:
        """How much of what it listed last cannot be offered."""
        return self._offering.dropped

    async def open(self, *, older: bool = False) -> Modern | Legacy:
        """Find out which era it speaks before anybody asks; one that is known to be `older` is not asked first."""
        with named_failures(self.target, self.target.start_seconds):
            self._era = await (self._open() if older else self._probing())
            return self._era

    async def offered(self) -> Offered:
        """Return every usable definition of every list that it has, and count the others in `dropped`."""
        self._sessions.close_idle()
        with self._place(), named_failures(self.target):
            async with asyncio.timeout(self.target.timeout_seconds):
                return await self._listed()

    async def call(self, call: Call) -> Answer:
        """Ask one named thing once; what may have been started is never sent again."""
        call = call.named(self._peer.naming(call.caller))
        with self._place(), named_failures(self.target):
            async with asyncio.timeout(self.target.timeout_seconds) as timeout:
                patience = Patience(timeout)
                reply = await self._attempt(call, patience)
                if reply.error_code == UNSUPPORTED_VERSION:
                    # The server has changed its era, and refused the call for that alone.
                    reply = await self._attempt(call, patience)
                return of_known_kind(self._name, require_answer(self._name, reply))

    async def resume(self, caller: Principal, place: Position, hear: Hear) -> Answer:
        """Take up the stream of a caller's call again and return the answer at its end."""
        session = self._session_at(caller, place)
        with self._place(), named_failures(self.target):
            async with asyncio.timeout(self.target.timeout_seconds) as timeout:
                reply = await self._wire.resumed(session, place, hear, Patience(timeout))
                return of_known_kind(self._name, require_answer(self._name, reply))

    def attend(self, whose: Hashable, hear: Hear, at: tuple[Principal, Position] | None = None) -> None:
        """Hand on what the server says in somebody's session beside calls; at a place of a caller's, from there on."""
        self._listening.begin(whose, hear)
        if at is not None:
            with suppress(UpstreamFailed):  # It may want to be told a tenant by now, which this caller has not.
                self._listening.listen(whose, self._session_at(*at), at[1].event)
        elif (session := self._sessions.current(whose)) is not None:
            self._listening.listen(whose, session)

    def ignore(self, whose: Hashable) -> None:
        """Stop handing on what the server says in somebody's session."""
        self._listening.end(whose)

    def tell(self, whose: Hashable, body: bytes) -> None:
        """Tell the server something in somebody's session, if there is one."""
        if (session := self._sessions.current(whose)) is not None:
            self._errands.run(self._wire.tell(session, body))

    async def answer(self, caller: Principal, place: Position, body: bytes) -> None:
        """Post the answer to what the server asked in a caller's session."""
        headers = self._session_at(caller, place).headers
        with self._place(), named_failures(self.target):
            async with asyncio.timeout(self.target.timeout_seconds):
                await self._peer.tell(body, headers)

    def leave(self, whose: Hashable) -> None:
        """End somebody's session, if there is one."""
        self._listening.end(whose)
        self._sessions.end(whose)

    async def close(self, patience: float = 0.0) -> None:
        """Let what is under way finish for up to `patience` seconds, end the sessions, close the connections."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._under_way.idle()
        await self.announced.close()
        await self._probing.close()
        await self._listening.close()
        await self._sessions.close()
        if isinstance(self._era, Legacy):
            self._wire.leave(self._era)
        await self._errands.close()
        await self._peer.close()

    async def _attempt(self, call: Call, patience: Patience) -> Reply:
        era = self._era or await self._probing()
        if isinstance(era, Legacy):
            if era.session is not None:
                reply = await self._call_in_session(call, patience)
            else:
                reply = await self._legacy(replace(era, naming=call.naming), call, patience)
        elif call.agent.session is None or self._shakes_hands is False or self._peer.is_one_session:
            reply = await self._call_modern(era, call, patience)
        else:
            reply = await self._call_as_the_agent(era, call, patience)
        return self._noted(reply)

    async def _call_as_the_agent(self, era: Modern, call: Call, patience: Patience) -> Reply:
        """Call a server of both eras in the older one, which its agent speaks."""
        try:
            reply = await self._call_in_session(call, patience)
        except NoHandshake:
            self._shakes_hands = False
            return await self._call_modern(era, call, patience)
        self._shakes_hands = True
        return reply

    async def _call_modern(self, era: Modern, call: Call, patience: Patience) -> Reply:
        params = modern_call(call, era.version)
        reply = await self._modern(era, call, params, patience)
        if reply.status == 400 and reply.error_code == HEADER_MISMATCH:
            # The schema that says which arguments go into headers has changed; the server looked no further than
            # the headers, so the call may be sent again.
            await self._listed()
            reply = await self._modern(era, call, params, patience)
        return reply

    def _modern(self, era: Modern, call: Call, params: Mapping[str, Any], patience: Patience) -> Awaitable[Reply]:
        wanted = self.param_headers(call.name) if call.method == "tools/call" else ()
        return self._wire.modern(call.method, params, modern_headers(call, era.version, wanted), call.hear, patience)

    async def _call_in_session(self, call: Call, patience: Patience) -> Reply:
        with self._sessions.seat(call.whose, lambda: self._open(call)) as seat:
            session = await self._session(seat, call)
            reply = await self._legacy(session, call, patience)
            if reply.status == _GONE:
                # The server has forgotten the session, so it has not looked at the call.
                self._sessions.lost(call.whose, session)
                reply = await self._legacy(await self._session(seat, call), call, patience)
            return reply

    async def _session(self, seat: Seat, call: Call) -> Legacy:
        fresh = seat.current is None
        session = await seat.session()
        if fresh:
            self._listening.listen(call.whose, session)
        level = call.agent.level
        if session.logs and level is not None and seat.takes(level, shared=call.agent.session is None):
            await self._wire.legacy(session, "logging/setLevel", {"level": level})
        return session

    def _session_at(self, caller: Principal, place: Position) -> Legacy:
        return Legacy(place.version, place.session, naming=self._peer.naming(caller))

    def _legacy(self, session: Legacy, call: Call, patience: Patience) -> Awaitable[Reply]:
        return self._wire.legacy(session, call.method, legacy_call(call), call.hear, patience)

    async def _listed(self) -> Offered:
        offered = await self._offering.listed((self._era or await self._probing()).declared)
        self.announced.follow(self._era, self._peer, self._wire)
        return offered

    async def _list_page(self, method: str, cursor: str | None) -> Answer:
        era = self._era or await self._probing()
        reply = await self._wire.list_page(era, method, cursor)
        if reply.status == _GONE and isinstance(era, Legacy) and era.session is not None:
            era = self._era = await handshake(self._name, self._peer, self._wire.ids)
            reply = await self._wire.list_page(era, method, cursor)
        return require_answer(self._name, self._noted(reply))

    async def _probe(self) -> Modern | Legacy:
        async with asyncio.timeout(self.target.start_seconds):
            self._era = await probe(self._name, self._peer, self._wire.ids)
        return self._era

    async def _open(self, call: Call | None = None) -> Legacy:
        async with asyncio.timeout(self.target.start_seconds):
            return await handshake(self._name, self._peer, self._wire.ids, call)

    def _place(self) -> InFlight:
        """Return what counts requests under way, if there is room for one more: a queue would hide a slow server."""
        if self._under_way.count >= self.target.max_concurrent_requests:
            raise UpstreamFailed(self._name, "has too many requests under way")
        return self._under_way

    def _noted(self, reply: Reply) -> Reply:
        """Forget the era where the server does not understand it any more; the next request asks anew."""
        if (reply.answer is None and 400 <= reply.status < 500) or reply.error_code == UNSUPPORTED_VERSION:
            if isinstance(self._era, Legacy):
                self._wire.leave(self._era)
            self._era = self._shakes_hands = None
        return reply
