"""Sessions of agents before 2026-07-28 over HTTP: opened by `initialize`, listened to by GET, ended by DELETE."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from aiohttp import web

from gateway import audit
from gateway.conversation import Conversation
from gateway.endpoints import listening
from gateway.endpoints.calls import stopped
from gateway.endpoints.listening import HUNG_UP, TOO_MANY, Seen
from gateway.endpoints.replies import HEADERS as JSON_HEADERS
from gateway.endpoints.replies import accepted, answer
from gateway.endpoints.reply import Reply
from gateway.errors import UpstreamFailed
from gateway.forward import whose
from gateway.mcp import capabilities, results, told
from gateway.mcp.agent import Agent
from gateway.mcp.eras import Era
from gateway.mcp.headers import SESSION
from gateway.sessions import owner_of
from gateway.tickets import NOWHERE, Ticket

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.audit import AuditTrail
    from gateway.endpoints.calls import Calls
    from gateway.endpoints.gate import Door
    from gateway.endpoints.outlet import HttpOutlet
    from gateway.endpoints.reply import Answer
    from gateway.mcp.answers import ServerRequest
    from gateway.mcp.envelope import Notification, Request, Response
    from gateway.questions import Questions
    from gateway.recording import Caller
    from gateway.sessions import Session, Sessions
    from gateway.tickets import Tickets
    from gateway.upstream.call import Hear, Link, Position
    from gateway.upstream.pool import Upstreams

REPLACED = "taken over by a newer stream of the session"
SESSION_ENDED = "the session was ended"


@dataclass(frozen=True, slots=True)
class AgentSessions:
    """What can be done with a session; `listening` is the one stream that each may have."""

    calls: Calls
    sessions: Sessions
    questions: Questions
    upstreams: Upstreams
    tickets: Tickets
    trail: AuditTrail
    listening: dict[str, Listener] = field(default_factory=dict)

    def open(self, caller: Caller, message: Request) -> Reply:
        """Shake hands and open a session; what is asked for beside a version is kept in it."""
        version = results.agreed(message.params.get("protocolVersion"))
        declared = capabilities.kept(message.params.get("capabilities"))
        session, sealed = self.sessions.open(owner(caller), caller.principal, version, declared, caller.client)
        self._record("SessionOpened", caller, session)
        reply = answer(results.initialize(message.id, version))
        reply.headers[SESSION] = sealed
        return reply

    def find(self, caller: Caller, sealed: str) -> Session:
        """Return the caller's session; raises UnknownSession."""
        return self.sessions.find(owner(caller), sealed)

    def agent(self, session: Session) -> Agent:
        """Return the agent that is in a session."""
        level = self.sessions.level(session)
        return Agent(Era.LEGACY, session.version, session.capabilities, session.id, level)

    def end(self, caller: Caller, session: Session) -> Reply:
        """End a session, with everything that goes on in it and its sessions at servers."""
        self.sessions.end(session)
        self.calls.end_session(session.id)
        if (listener := self.listening.get(session.id)) is not None:
            listener.outlet.end(SESSION_ENDED)
        self.upstreams.leave(whose(caller.principal, self.agent(session)))
        self._record("SessionEnded", caller, session)
        return Reply(200, JSON_HEADERS.copy())

    def told(self, caller: Caller, session: Session, message: Notification) -> None:
        """Do what a notification of the agent asks for."""
        if message.method == "notifications/cancelled":
            self.calls.cancel(session.id, message.params.get("requestId"))
        elif message.method == "notifications/roots/list_changed" and "roots" in session.capabilities:
            body = b'{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}'
            self.upstreams.tell(whose(caller.principal, self.agent(session)), body)

    async def answered(self, door: Door, caller: Caller, session: Session, message: Response) -> bool:
        """Pass on what an agent answers to a server's question; False where it was not asked that, or has answered it.

        The server waits here, or where the question's id says: it may have been asked by another gateway, or on a
        stream that was closed since.
        """
        if self.questions.answered(session.id, message.id, message.answer):
            return True
        id_ = message.id if isinstance(message.id, str) else ""
        errand = None if self.questions.was_open(id_) else self.tickets.read_question(session.id, id_)
        if errand is None:
            return False
        sight = await door.hearing.sight(caller)
        if errand.place.server not in sight.servers:
            return False
        with suppress(UpstreamFailed):
            body = told.answer(errand.id.encode(), message.answer)
            await self.upstreams.answer(caller.principal, errand.place, body, sight.config)
        return True

    def set_level(self, session: Session, level: str) -> None:
        """Let the session's agent hear log messages from this level on."""
        self.sessions.set_level(session, level)
        if (listener := self.listening.get(session.id)) is not None:
            listener.conversation.follow(self.agent(session))

    async def subscribe(self, door: Door, caller: Caller, session: Session, uri: str) -> None:
        """Have the session's agent hear of a resource; raises as `Hearing.watch`, and OverLimit for too many."""
        ref = await door.hearing.watch(caller, uri, session=session.id)
        self.sessions.watch(session, uri, ref.server)
        if (listener := self.listening.get(session.id)) is not None:
            listener.seen.watch(self.upstreams, ref.server, uri)

    def unsubscribe(self, session: Session, uri: str) -> None:
        """Have it hear of the resource no more."""
        self.sessions.unwatch(session, uri)
        if (listener := self.listening.get(session.id)) is not None:
            listener.seen.unwatch(uri)

    async def resume(self, request: web.Request, door: Door, caller: Caller, session: Session, event: str) -> Answer:
        """Answer with the rest of the stream that an event was on; raises HTTPBadRequest for none of the session's."""
        ticket = self.tickets.read(session.id, event)
        if ticket is None:
            raise web.HTTPBadRequest(text="Last-Event-ID is none of this session's")
        if ticket.method is not None:
            return await self.calls.resume(request, door, caller, self.agent(session), ticket)
        return await self.listen(request, door, caller, session, ticket.place)

    async def listen(
        self, request: web.Request, door: Door, caller: Caller, session: Session, place: Position | None = None
    ) -> Answer:
        """Hand on what servers say beside calls, and when the agent sees something else, until it hangs up or loses
        the right to hear it.

        The newest stream of a session is the one: the one before may be dead without anybody having noticed.
        Raises TooManyStreams, and what `Hearing.begin` does.
        """
        seen = Seen(await door.hearing.begin(caller, session=session.id))
        outlet = listening.outlet(request, self.calls.lines, caller, seen)
        key, why = whose(caller.principal, self.agent(session)), TOO_MANY
        try:
            await outlet.begin()
            why = HUNG_UP
            async with self._conversation(outlet, session) as conversation:
                self._take_over(session, Listener(outlet, conversation, seen))
                for uri, server in self.sessions.watched(session).items():
                    seen.watch(self.upstreams, server, uri)
                at = None if place is None else (caller.principal, place)
                self.upstreams.attend(key, lambda name: hears(seen, name, conversation), at)
                await listening.tell_changes(seen, outlet, lambda: self.calls.lines.gate.door.hearing, caller)
        except asyncio.CancelledError:
            # Answered by the end of the stream, where it is not the agent that has gone.
            stopped(outlet, 0)
            why = outlet.ended or why
        finally:
            seen.close()
            outlet.close()
            if self._is_the_one(session, outlet):
                del self.listening[session.id]
                self.upstreams.ignore(key)
            listening.record_end(self.trail, caller, seen.sight, why, **about(session))
        return outlet.finished(accepted())

    def _take_over(self, session: Session, listener: Listener) -> None:
        if (before := self.listening.get(session.id)) is not None:
            before.outlet.end(REPLACED)
        self.listening[session.id] = listener

    def _is_the_one(self, session: Session, outlet: HttpOutlet) -> bool:
        listener = self.listening.get(session.id)
        return listener is not None and listener.outlet is outlet

    def _conversation(self, outlet: HttpOutlet, session: Session) -> Conversation:
        agent = self.agent(session)
        return Conversation(agent, outlet, self.questions, None, self.tickets, Ticket(NOWHERE), lasting=True)

    def _record(self, type_: str, caller: Caller, session: Session) -> None:
        self.trail.record(
            audit.event(
                type_,
                "success",
                tenant=caller.principal.tenant,
                actor=audit.actor_of(caller.principal),
                source=audit.source_of(caller.request),
                target=about(session),
            )
        )


class Listener(NamedTuple):
    """The stream of a session, and what is said on it."""

    outlet: HttpOutlet
    conversation: Conversation
    seen: Seen


def hears(seen: Seen, server: str, conversation: Conversation) -> Hear:
    """Return what hears a server for as long as the agent sees something of it."""

    async def hear(message: ServerRequest, link: Link) -> None:
        if server in seen.sight.servers:
            await conversation.hear(message, link)
        else:
            link.refuse(message)

    return hear


def about(session: Session) -> dict[str, Any]:
    """Return what the audit trail says of a session."""
    return {"session": session.id, "version": session.version, "client": session.client}


def owner(caller: Caller) -> bytes:
    """Return whose a session of this caller is, at the endpoint that it called."""
    return owner_of(caller.principal, caller.view, caller.server)


def in_session(caller: Caller, session: Session) -> Caller:
    """Return the caller with what its session says of it."""
    client: Mapping[str, Any] = session.client
    return replace(caller, client=client) if client and not caller.client else caller
