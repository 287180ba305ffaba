"""MCP over the standard streams of this process: one agent, both eras, a message a line, answers as they are ready.

Progress of its calls is passed on. It has no session, so nothing is asked of it before an answer; and its handshake
promises neither log messages nor news of changes, for there are none.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from gateway import audit
from gateway.endpoints.calls import replied
from gateway.endpoints.replies import refused
from gateway.errors import GatewayError
from gateway.mcp import envelope, named, results
from gateway.mcp.agent import Agent
from gateway.mcp.capabilities import relayed
from gateway.mcp.envelope import META_CAPABILITIES, Notification, Request
from gateway.mcp.eras import Action, Era, classify_line
from gateway.mcp.errors import INTERNAL_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, Rejection
from gateway.mcp.lines import Lines, one_line
from gateway.model import RequestInfo
from gateway.recording import Caller

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from typing import Any

    from gateway.endpoints.gate import Door, Gate
    from gateway.mcp.eras import Route
    from gateway.model import Principal
    from gateway.outlet import Check

LOG = logging.getLogger("portcullis.stdio")

MAX_UNDER_WAY = 256
# Outside the range that JSON-RPC reserves, like those of the same meaning over HTTP.
TOO_MANY_REQUESTS = 42900
CAPABILITIES: Mapping[str, Any] = {"tools": {}, "prompts": {}, "resources": {}, "completions": {}}
# What is told on a stream, or kept in a session, is not to be had here.
_UNSERVED = frozenset({Action.LISTEN, Action.SET_LEVEL, Action.SUBSCRIBE, Action.UNSUBSCRIBE})


class Line:
    """The outlet of one request: what is said before its answer is a line among others."""

    open = True

    def __init__(self, say: Callable[[bytes], Awaitable[None]]) -> None:
        self._say = say
        self.check: Check | None = None

    async def tell(self, message: bytes, event_id: str | None = None, retry: int | None = None) -> bool:  # noqa: ARG002
        """Say one message; there is nothing that an agent could come back to."""
        if message:
            await self._say(one_line(message))
        return True

    def on_gone(self, left: Callable[[], None]) -> None:
        """An agent that has gone has ended this process."""


class StdioAgent:
    """The agent, who is always the same `principal`. `say` writes a line, `ready` waits until policy and servers are.

    `current` returns the door in force.
    """

    def __init__(
        self,
        gate: Gate,
        principal: Principal,
        *,
        current: Callable[[], Door],
        ready: Callable[[], Awaitable[object]],
        say: Callable[[bytes], Awaitable[None]],
    ) -> None:
        self._gate = gate
        self._principal = principal
        self._current = current
        self._ready = ready
        self._say = say
        self._under_way: dict[str | int, asyncio.Task[None]] = {}
        self._shaken: str | None = None
        self._client: Mapping[str, Any] = {}

    async def converse(self, chunks: AsyncIterator[bytes], patience: Callable[[], float]) -> None:
        """Answer what comes until nothing more does, and then what is under way for up to `patience()` seconds."""
        lines = Lines(self._current().config.server.max_body_bytes)
        async for chunk in chunks:
            for line in lines.feed(chunk):
                await self._heard(line)
        await self._heard(lines.rest())
        if self._under_way:
            _, late = await asyncio.wait(self._under_way.values(), timeout=patience())
            for task in late:
                task.cancel()

    async def _heard(self, line: bytes | None) -> None:
        if line is not None and not line.strip():
            return
        message = envelope.parse(line) if line else Rejection(413, INVALID_REQUEST, "the message is too large")
        if isinstance(message, Rejection):
            await self._refused(message)
            return
        route = classify_line(message, self._shaken)
        if isinstance(route, Rejection):
            # Nothing answers what wants no answer, not even a refusal.
            await self._refused(route, silently=not isinstance(message, Request))
        elif isinstance(message, Request) and route.action in _UNSERVED:
            text = f"Method not found: {message.method}"
            await self._refused(Rejection(200, METHOD_NOT_FOUND, text, id=message.id))
        elif isinstance(message, Request):
            await self._begin(message, route)
        elif isinstance(message, Notification) and message.method == "notifications/cancelled":
            self._cancel(message.params.get("requestId"))

    async def _refused(self, rejection: Rejection, *, silently: bool = False) -> None:
        self._gate.refusals.malformed(self._info(), rejection.message, self._principal)
        if not silently:
            await self._say(results.error(rejection.id, rejection.code, rejection.message, rejection.data))

    async def _begin(self, message: Request, route: Route) -> None:
        if message.id in self._under_way:
            await self._refused(Rejection(400, INVALID_REQUEST, "this id is of a request under way", id=message.id))
        elif len(self._under_way) >= MAX_UNDER_WAY:
            await self._refused(Rejection(429, TOO_MANY_REQUESTS, "too many requests under way", id=message.id))
        else:
            task = asyncio.create_task(self._answer(message, route))
            self._under_way[message.id] = task
            task.add_done_callback(lambda _: self._under_way.pop(message.id, None))

    def _cancel(self, id_: object) -> None:
        task = self._under_way.get(id_) if isinstance(id_, str | int) else None
        # 1 == 1.0 == True, and ids keep their type.
        if task is not None and type(id_) in (str, int):
            task.cancel()

    async def _answer(self, message: Request, route: Route) -> None:
        try:
            with self._gate.in_flight:
                body = await self._body(message, route)
        except GatewayError as error:
            LOG.error("a request failed with an error that nothing expected: %r", error)
            body = results.error(message.id, INTERNAL_ERROR, "Internal error")
        except Exception:  # (one request that goes wrong must not leave its agent waiting)
            LOG.exception("a request failed with an error that nothing expected")
            body = results.error(message.id, INTERNAL_ERROR, "Internal error")
        # What a server answered is passed on as it wrote it, and not every server writes one line.
        await self._say(one_line(body))

    async def _body(self, message: Request, route: Route) -> bytes:
        # What needs nobody's decision is answered while everything else still starts.
        match route.action:
            case Action.INITIALIZE:
                self._shaken, self._client = results.agreed(message.params.get("protocolVersion")), route.client
                return results.initialize(message.id, self._shaken, CAPABILITIES)
            case Action.DISCOVER:
                return results.discover(message.id, CAPABILITIES)
            case Action.PING:
                return results.empty(message.id)
        await self._ready()
        caller = Caller(self._principal, self._info(), client=route.client or self._client)
        if route.action is Action.CALL:
            return await self._called(message, route, caller)
        try:
            found = await self._current().pep.listing(caller, message.method)
            return b"".join(results.listed(message.id, route.era, message.method, found))
        except GatewayError as error:
            return b"".join(refused(error, message.id, message.method, "", route.era).pieces)

    async def _called(self, message: Request, route: Route, caller: Caller) -> bytes:
        asked = named.asked(message, route.era)
        if isinstance(asked, Rejection):
            self._gate.refusals.malformed(caller.request, asked.message, self._principal)
            return results.error(asked.id, asked.code, asked.message)
        able = relayed(message.meta[META_CAPABILITIES]) if route.era is Era.MODERN else {}
        agent = Agent(route.era, route.version, able)
        work = self._current().pep.call(caller, agent, asked, Line(self._say))
        return b"".join((await replied(work, caller, agent, asked)).pieces)

    def _info(self) -> RequestInfo:
        """Return the facts of a request; it comes from no address."""
        return RequestInfo(id=audit.uuid7(audit.now_ms()), ip="", time=int(time.time()))
