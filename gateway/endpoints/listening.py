"""Streams that answer nothing: what an agent sees is watched for it, and it is told when that changes.

An older agent gets the stream of its session, a modern one asks for a subscription.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from gateway import audit
from gateway.endpoints.calls import stopped
from gateway.endpoints.outlet import HttpOutlet
from gateway.endpoints.replies import answer, rejected
from gateway.errors import Refused
from gateway.hearing import EVERY_KIND
from gateway.mcp import subscriptions
from gateway.mcp.errors import INVALID_REQUEST, Rejection
from gateway.mcp.headers import EVENTS, accepted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from aiohttp import web

    from gateway.audit import AuditTrail
    from gateway.endpoints.gate import Door
    from gateway.endpoints.outlet import Lines
    from gateway.endpoints.reply import Answer
    from gateway.hearing import Hearing
    from gateway.ids import Kind
    from gateway.mcp.envelope import Request
    from gateway.recording import Caller
    from gateway.sight import Sight
    from gateway.upstream.pool import Upstreams

DRAINING = "draining"
TOO_OLD = "open for too long"
TOO_MANY = "there are too many"
HUNG_UP = "the agent hung up"
MAX_TOLD_APART = 32
UPDATED_SECONDS = 0.2
# What ends a stream without its agent having lost any right.
WITHOUT_BLAME = frozenset({DRAINING, TOO_OLD})


class Seen:
    """What an agent sees of some kinds and which resources it watches, as of the last look; how often it has changed is
    not told, only that it has.
    """

    __slots__ = ("_changed", "_updated", "_waiting", "kinds", "sight", "watched")

    def __init__(self, sight: Sight, kinds: Collection[Kind] = EVERY_KIND) -> None:
        self.sight = sight
        self.kinds = kinds
        self.watched: dict[str, Watched] = {}
        # Not an asyncio.Event, which takes a kilobyte of each of thousands.
        self._changed: frozenset[Kind] = frozenset()
        self._updated: dict[tuple[str, str], None] | None = None
        self._waiting: asyncio.Future[None] | None = None

    def look(self, sight: Sight) -> None:
        """Note what it sees by now."""
        self._note(self.sight.differs(sight))
        self.sight = sight

    def changed_at(self, server: str, kinds: frozenset[Kind]) -> None:
        """Note that a server offers something else, which it may see something of."""
        if server in self.sight.servers:
            self._note(kinds)

    def updated_at(self, server: str, uri: str) -> None:
        """Note that a resource has changed, if it is one that is watched or lies under one."""
        for watched, one in self.watched.items():
            if one.server == server and subscriptions.covers(watched, uri):
                self._updated = self._updated or {}
                # Of what lies under it, so many are told apart; more are told as one.
                self._updated[server, uri if len(self._updated) < MAX_TOLD_APART else watched] = None
                self._wake()
                return

    async def news(self) -> News:
        """Wait until something is new since this was asked last, and return what."""
        if not self._changed and not self._updated:
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        news = News(self._changed, tuple(self._updated or ()))
        self._changed, self._updated = frozenset(), None
        return news

    def watch(self, upstreams: Upstreams, server: str, uri: str) -> bool:
        """Watch a resource as long as this lasts; False where its server does not say when one changes."""
        if uri not in self.watched:
            end = upstreams.watch(server, uri)
            if end is None:
                return False
            self.watched[uri] = Watched(server, end)
        return True

    def unwatch(self, uri: str) -> None:
        """Watch a resource no more."""
        if (found := self.watched.pop(uri, None)) is not None:
            found.end()

    def close(self) -> None:
        """Watch nothing more."""
        for uri in list(self.watched):
            self.unwatch(uri)

    def _note(self, kinds: frozenset[Kind]) -> None:
        if kinds := kinds.intersection(self.kinds):
            self._changed |= kinds
            self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class Watched(NamedTuple):
    """A resource of a server that somebody watches, until `end` is called."""

    server: str
    end: Callable[[], None]


class News(NamedTuple):
    """The kinds of which something else is seen, and the resources that have changed, each with its server."""

    kinds: frozenset[Kind]
    updated: tuple[tuple[str, str], ...]


def outlet(request: web.Request, lines: Lines, caller: Caller, seen: Seen) -> HttpOutlet:
    """Return the stream of one who listens, which looks again whenever it is checked; the task here works for it."""
    made = HttpOutlet(request, lines, caller, lasting=True)

    async def check() -> int:
        sight = await lines.gate.door.hearing.sight(caller, seen.kinds)
        seen.look(sight)
        return sight.revision

    made.check, made.listener, made.task = check, seen, asyncio.current_task()
    return made


async def tell_changes(
    seen: Seen, told: HttpOutlet, hearing: Callable[[], Hearing], caller: Caller, id_: str | int | None = None
) -> NoReturn:
    """Say so, each time that the agent sees something else, until cancelled; `id_` is the subscription's.

    Of a resource it is told if it may still hear of it, which is asked each time.
    """
    while True:
        news = await seen.news()
        for kind in sorted(news.kinds):
            await told.tell(subscriptions.changed(kind, id_))
        for server, uri in news.updated:
            if await hearing().may_hear(caller, uri, server):
                await told.tell(subscriptions.updated(uri, id_))
        if news.updated:
            # Policy is asked for each, and a server may say so as often as it likes.
            await asyncio.sleep(UPDATED_SECONDS)


def record_end(trail: AuditTrail, caller: Caller, sight: Sight, why: str, **target: Any) -> None:
    """Record that a stream has ended; `sight` is what its agent saw last."""
    trail.record(
        audit.event(
            "StreamEnded",
            "success",
            tenant=caller.principal.for_tenant if sight.allow else caller.principal.tenant,
            actor=audit.actor_of(caller.principal),
            source=audit.source_of(caller.request),
            target={**target, "detail": why},
        )
    )


class Subscriptions:
    """`subscriptions/listen` of the modern era."""

    def __init__(self, lines: Lines, upstreams: Upstreams, trail: AuditTrail) -> None:
        self._lines = lines
        self._upstreams = upstreams
        self._trail = trail

    async def listen(self, request: web.Request, door: Door, caller: Caller, message: Request) -> Answer:
        """Tell an agent of what it asks to be told of, until it hangs up or may not hear it any more.

        Raises TooManyStreams, and what `Hearing.begin` does.
        """
        wanted = subscriptions.wanted(message)
        if isinstance(wanted, Rejection):
            return rejected(wanted)
        if not accepted(request.headers).events:
            text = f"Not Acceptable: the answer is {EVENTS}"
            return rejected(Rejection(406, INVALID_REQUEST, text, id=message.id))
        seen, why = Seen(await door.hearing.begin(caller, wanted.kinds), wanted.kinds), TOO_MANY
        told = outlet(request, self._lines, caller, seen)
        try:
            await watch(seen, self._upstreams, door.hearing, caller, wanted.uris)
            await told.begin()
            why = HUNG_UP
            await told.tell(subscriptions.acknowledged(message.id, wanted.kinds, tuple(seen.watched)))
            await tell_changes(seen, told, lambda: self._lines.gate.door.hearing, caller, message.id)
        except asyncio.CancelledError:
            end = stopped(told, message.id)
            why = told.ended or why
            if why in WITHOUT_BLAME:
                end = answer(subscriptions.ended(message.id))
            return told.finished(end)
        finally:
            seen.close()
            told.close()
            record_end(self._trail, caller, seen.sight, why)


async def watch(seen: Seen, upstreams: Upstreams, hearing: Hearing, caller: Caller, uris: Iterable[str]) -> None:
    """Watch those of some resources that the caller may hear of, for it; the others are as if they were not there."""
    for uri in uris:
        with contextlib.suppress(Refused):
            seen.watch(upstreams, (await hearing.watch(caller, uri)).server, uri)
