"""Streams that answer nothing: what an agent sees is watched for it, and it is told when that changes.

An older agent gets the stream of its session, a modern one asks for a subscription.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn

from gateway import audit
from gateway.endpoints.calls import stopped
from gateway.endpoints.outlet import HttpOutlet
from gateway.endpoints.replies import answer, rejected
from gateway.mcp import subscriptions
from gateway.mcp.errors import INVALID_REQUEST, Rejection
from gateway.mcp.headers import EVENTS, accepted

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.audit import AuditTrail
    from gateway.endpoints.gate import Door
    from gateway.endpoints.outlet import Lines
    from gateway.endpoints.reply import Answer
    from gateway.mcp.envelope import Request
    from gateway.recording import Caller
    from gateway.sight import Sight

DRAINING = "draining"
TOO_OLD = "open for too long"
TOO_MANY = "there are too many"
HUNG_UP = "the agent hung up"
# What ends a stream without its agent having lost any right.
WITHOUT_BLAME = frozenset({DRAINING, TOO_OLD})


class Seen:
    """What an agent sees, as of the last look; how often it has changed is not told, only that it has."""

    __slots__ = ("_changed", "_waiting", "sight")

    def __init__(self, sight: Sight) -> None:
        self.sight = sight
        # Not an asyncio.Event, which takes a kilobyte of each of thousands.
        self._changed = False
        self._waiting: asyncio.Future[None] | None = None

    def look(self, sight: Sight) -> None:
        """Note what it sees by now."""
        if sight.digest != self.sight.digest:
            self._note()
        self.sight = sight

    def changed_at(self, server: str) -> None:
        """Note that a server offers something else, which it may see something of."""
        if server in self.sight.servers:
            self._note()

    async def change(self) -> None:
        """Wait until it sees something else than when this was asked last."""
        if not self._changed:
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        self._changed = False

    def _note(self) -> None:
        self._changed = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


def outlet(request: web.Request, lines: Lines, caller: Caller, seen: Seen) -> HttpOutlet:
    """Return the stream of one who listens, which looks again whenever it is checked; the task here works for it."""
    made = HttpOutlet(request, lines, caller, lasting=True)

    async def check() -> int:
        sight = await lines.gate.door.pep.sight(caller)
        seen.look(sight)
        return sight.revision

    made.check, made.changed, made.task = check, seen.changed_at, asyncio.current_task()
    return made


async def tell_changes(seen: Seen, told: HttpOutlet, id_: str | int | None = None) -> NoReturn:
    """Say so, each time that the agent sees something else, until cancelled; `id_` is the subscription's."""
    while True:
        await seen.change()
        await told.tell(subscriptions.changed(subscriptions.TOOLS_CHANGED, id_))


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

    def __init__(self, lines: Lines, trail: AuditTrail) -> None:
        self._lines = lines
        self._trail = trail

    async def listen(self, request: web.Request, door: Door, caller: Caller, message: Request) -> Answer:
        """Tell an agent of what it asks to be told of, until it hangs up or may not hear it any more.

        Raises TooManyStreams, and what `Pep.listen` does.
        """
        filter_ = subscriptions.honoured(message)
        if isinstance(filter_, Rejection):
            return rejected(filter_)
        if not accepted(request.headers).events:
            text = f"Not Acceptable: the answer is {EVENTS}"
            return rejected(Rejection(406, INVALID_REQUEST, text, id=message.id))
        seen, why = Seen(await door.pep.listen(caller)), TOO_MANY
        told = outlet(request, self._lines, caller, seen)
        try:
            await told.begin()
            why = HUNG_UP
            await told.tell(subscriptions.acknowledged(message.id, filter_))
            await _told(seen, told, message.id, filter_)
        except asyncio.CancelledError:
            end = stopped(told, message.id)
            why = told.ended or why
            if why in WITHOUT_BLAME:
                end = answer(subscriptions.ended(message.id))
            return told.finished(end)
        finally:
            told.close()
            record_end(self._trail, caller, seen.sight, why)


async def _told(seen: Seen, told: HttpOutlet, id_: str | int, filter_: dict[str, bool]) -> NoReturn:
    if not filter_:
        await asyncio.get_running_loop().create_future()
    # There is one list so far.
    await tell_changes(seen, told, id_)
