"""A small real MCP server that talks before it answers: one of either era or of both, with tools that a test writes.

A tool is a coroutine function of a `Talk`, by which it reports progress, logs, asks its client, hangs up, and returns
the members of its result. In the older era the server keeps sessions, and if it is told to, every event of a stream, so
that a client may come back for those that it missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.support.backend import LEGACY, MODERN, Received, failure, prompt, resource, tool
from tests.support.listening import listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Tool = Callable[["Talk"], Awaitable[dict[str, Any] | None]]

HEADERS = {"Content-Type": "text/event-stream"}
COUNT = count(1)


@dataclass
class Stream:
    """What a client reads on one connection after the other; `events` are all that were ever written, by number."""

    resumable: bool
    id: str = field(default_factory=lambda: f"stream{next(COUNT)}")
    events: list[bytes] = field(default_factory=list)
    response: web.StreamResponse | None = None
    first: web.StreamResponse | None = None
    answered: bool = False
    watched: set[str] = field(default_factory=set)
    attached: asyncio.Event = field(default_factory=asyncio.Event)
    detached: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self, message: Any, *, retry: int | None = None) -> None:
        """Write one message; None for an event that says nothing."""
        data = b"" if message is None else message if isinstance(message, bytes) else json.dumps(message).encode()
        self.events.append(b"data: " + data + b"\n\n")
        if self.response is not None:
            await self.response.write(self.event(len(self.events), retry))

    def event(self, number: int, retry: int | None = None) -> bytes:
        """Return an event as it is written."""
        head = b"id: %s-%d\n" % (self.id.encode(), number) if self.resumable else b""
        return (b"retry: %d\n" % retry if retry is not None else b"") + head + self.events[number - 1]

    async def attach(self, request: web.Request, headers: dict[str, str], after: int = 0) -> web.StreamResponse:
        """Go on with it on this connection, after the event of that number."""
        response = web.StreamResponse(headers=HEADERS | headers)
        self.first = self.first or response
        await response.prepare(request)
        for number in range(after + 1, len(self.events) + 1):
            await response.write(self.event(number))
        self.response = response
        self.detached.clear()
        self.attached.set()
        return response

    async def detach(self) -> None:
        """Close the connection; what is written from now on is kept."""
        response, self.response = self.response, None
        if response is not None:
            self.attached.clear()
            await response.write_eof()
            self.detached.set()


@dataclass
class Session:
    """One client's session: its own stream, and what it was asked."""

    id: str
    capabilities: dict[str, Any]
    version: str
    level: str | None = None
    stream: Stream = field(default_factory=lambda: Stream(resumable=True))
    told: list[Any] = field(default_factory=list)
    watched: set[str] = field(default_factory=set)


@dataclass
class Talk:
    """One call: what came, and what can be said before the answer."""

    server: Talker
    message: dict[str, Any]
    request: web.Request
    session: Session | None
    stream: Stream | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def params(self) -> dict[str, Any]:
        """The call's parameters."""
        return self.message["params"]

    @property
    def token(self) -> Any:
        """The token under which its client wants to hear of progress."""
        return self.params.get("_meta", {}).get("progressToken")

    @property
    def capabilities(self) -> dict[str, Any]:
        """What the client says that it can."""
        if self.session is not None:
            return self.session.capabilities
        return self.params.get("_meta", {}).get("io.modelcontextprotocol/clientCapabilities", {})

    async def say(self, message: Any) -> None:
        """Write a message on the call's stream, which begins with the first one."""
        if self.stream is None:
            self.stream = Stream(self.server.resumable)
            await self.stream.attach(self.request, self.headers)
            self.server.streams[self.stream.id] = self.stream
            if self.server.resumable:
                await self.stream.write(None, retry=self.server.retry)
        await self.stream.write(message)

    async def notify(self, method: str, **params: Any) -> None:
        """Write a notification."""
        await self.say({"jsonrpc": "2.0", "method": method, "params": params})

    async def progress(self, done: float, **more: Any) -> None:
        """Report progress."""
        await self.notify("notifications/progress", progressToken=self.token, progress=done, **more)

    async def log(self, level: str, data: Any) -> None:
        """Log a message."""
        await self.notify("notifications/message", level=level, data=data)

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask the client something and return the message that it answers with."""
        id_ = f"ask-{next(COUNT)}"
        answer = self.server.asked[id_] = asyncio.get_running_loop().create_future()
        await self.say({"jsonrpc": "2.0", "id": id_, "method": method, "params": params})
        return await answer

    async def hang_up(self) -> None:
        """Close the connection in the middle, to go on when the client comes back."""
        assert self.stream is not None
        await self.stream.detach()

    async def back(self) -> None:
        """Wait until the client has come back."""
        assert self.stream is not None
        await self.stream.attached.wait()


@dataclass
class Talker:
    """The server. `received` is every request; `cancelled` and `gone` are the ids of calls that clients gave up."""

    tools: dict[str, Tool]
    eras: frozenset[str] = frozenset({"modern", "legacy"})
    resumable: bool = False
    retry: int | None = 10
    keeps_sessions: bool = True
    announces: bool = False
    has_streams: bool = True
    title: str = ""
    prompts: list[str] = field(default_factory=list)
    resources: list[str] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    sessions: dict[str, Session] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    streams: dict[str, Stream] = field(default_factory=dict)
    asked: dict[str, asyncio.Future[Any]] = field(default_factory=dict)
    cancelled: list[Any] = field(default_factory=list)
    gone: list[Any] = field(default_factory=list)
    listening: int = 0
    subscribed: list[Stream] = field(default_factory=list)
    url: str = ""
    _running: dict[tuple[str | None, Any], asyncio.Task[Any]] = field(default_factory=dict)

    def of(self, method: str) -> list[Received]:
        """Every message of one method that arrived."""
        return [one for one in self.received if one.method == method]

    @property
    def calls(self) -> list[Received]:
        """Every call that arrived."""
        return self.of("tools/call")

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Talker]:
        """Listen on loopback for as long as the block lasts."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/mcp", self._post)
        app.router.add_get("/mcp", self._get)
        app.router.add_delete("/mcp", self._delete)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        async with listening(runner) as origin:
            self.url = f"{origin}/mcp"
            try:
                yield self
            finally:
                for task in self._running.values():
                    task.cancel()

    async def _post(self, request: web.Request) -> web.StreamResponse:
        received = Received("POST", request.headers.copy(), await request.read())
        self.received.append(received)
        message = received.message
        if request.headers.get("MCP-Protocol-Version") == MODERN and "modern" in self.eras:
            return await self._answer(request, message, None)
        if "legacy" not in self.eras:
            data = {"supported": [MODERN], "requested": request.headers.get("MCP-Protocol-Version", "")}
            return failure(message.get("id"), -32022, "Unsupported protocol version", 400, data)
        if message.get("method") == "initialize":
            return self._initialize(message)
        session = self.sessions.get(request.headers.get("Mcp-Session-Id", ""))
        if session is None and self.keeps_sessions:
            return failure(None, -32600, "Session not found", 404)
        if "method" not in message:
            self.asked[message["id"]].set_result(message)
            return web.Response(status=202)
        if "id" not in message:
            return self._told(session, message)
        return await self._answer(request, message, session)

    def _initialize(self, message: dict[str, Any]) -> web.Response:
        params, id_ = message["params"], f"session-{next(COUNT)}"
        result = {
            "protocolVersion": params["protocolVersion"] if params["protocolVersion"] != MODERN else LEGACY,
            "capabilities": self.capabilities | {"logging": {}},
            "serverInfo": {"name": "talker", "version": "1"},
        }
        body = {"jsonrpc": "2.0", "id": message["id"], "result": result}
        if not self.keeps_sessions:
            return web.json_response(body)
        self.sessions[id_] = Session(id_, params["capabilities"], params["protocolVersion"])
        return web.json_response(body, headers={"Mcp-Session-Id": id_})

    def _told(self, session: Session | None, message: dict[str, Any]) -> web.Response:
        if message["method"] == "notifications/cancelled":
            id_ = message["params"]["requestId"]
            self.cancelled.append(id_)
            task = self._running.get((session.id if session else None, id_))
            if task is not None:
                task.cancel()
        elif session is not None:
            session.told.append(message)
        return web.Response(status=202)

    async def _answer(
        self, request: web.Request, message: dict[str, Any], session: Session | None
    ) -> web.StreamResponse:
        id_, method, params = message["id"], message["method"], message.get("params", {})
        complete = {} if session else {"resultType": "complete"}
        if method == "server/discover":
            members = {"supportedVersions": [MODERN], "capabilities": self.capabilities, "ttlMs": 0}
            return result_of(id_, complete | members | {"cacheScope": "private"})
        if method == "tools/list":
            return result_of(id_, complete | {"tools": [tool(name, title=self.title) for name in self.tools]})
        if method == "prompts/list" and self.prompts:
            return result_of(id_, complete | {"prompts": [prompt(name) for name in self.prompts]})
        if method == "resources/list" and self.resources:
            return result_of(id_, complete | {"resources": [resource(uri) for uri in self.resources]})
        if method in ("resources/subscribe", "resources/unsubscribe") and session is not None:
            change = session.watched.add if method == "resources/subscribe" else session.watched.discard
            change(params["uri"])
            return result_of(id_, {})
        if method == "subscriptions/listen" and (self.announces or self.resources) and self.has_streams:
            return await self._listen(request, id_, params)
        if method == "logging/setLevel" and session is not None:
            session.level = params["level"]
            return result_of(id_, {})
        if method != "tools/call":
            return failure(id_, -32601, "Method not found", 200 if session else 404)
        headers = {"Mcp-Session-Id": session.id} if session else {}
        talk = Talk(self, message, request, session, headers=headers)
        return await self._call(talk, complete)

    @property
    def capabilities(self) -> dict[str, Any]:
        """What the server declares."""
        changes = {"listChanged": self.announces}
        found: dict[str, Any] = {"tools": changes} | ({"prompts": changes} if self.prompts else {})
        return found | ({"resources": changes | {"subscribe": True}} if self.resources else {})

    async def announce(self, times: int = 1, what: str = "tools") -> None:
        """Tell whoever listens that a list has changed."""
        streams = [one.stream for one in self.sessions.values() if one.stream.attached.is_set()] + self.subscribed
        for stream in streams * times:
            await stream.write({"jsonrpc": "2.0", "method": f"notifications/{what}/list_changed"})

    async def update(self, uri: str) -> None:
        """Tell everybody who listens that a resource has changed, whether that was asked for or not."""
        streams = [one.stream for one in self.sessions.values() if one.stream.attached.is_set()] + self.subscribed
        for stream in streams:
            params = {"uri": uri}
            await stream.write({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": params})

    def watched(self) -> set[str]:
        """Return the resources that anybody has asked to hear of, and listens now."""
        listening = [one for one in self.sessions.values() if one.stream.attached.is_set()]
        return {uri for one in (*listening, *self.subscribed) for uri in one.watched}

    async def _listen(self, request: web.Request, id_: Any, params: dict[str, Any]) -> web.StreamResponse:
        stream = Stream(resumable=False)
        response = await stream.attach(request, {})
        ack = {"_meta": {"io.modelcontextprotocol/subscriptionId": id_}, "notifications": params["notifications"]}
        await stream.write({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": ack})
        stream.watched = set(params["notifications"].get("resourceSubscriptions", ()))
        self.subscribed.append(stream)
        try:
            await stream.detached.wait()
        finally:
            self.subscribed.remove(stream)
        return response

    async def _call(self, talk: Talk, complete: dict[str, Any]) -> web.StreamResponse:
        id_ = talk.message["id"]
        key = (talk.session.id if talk.session else None, id_)
        task = self._running[key] = asyncio.ensure_future(self._run(talk, complete))
        while True:
            waiting = [task] if talk.stream is None else [task, asyncio.ensure_future(talk.stream.detached.wait())]
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=0.05)
            except asyncio.CancelledError:
                self.gone.append(id_)
                # Before 2026-07-28 the end of a connection says nothing.
                if talk.session is None:
                    task.cancel()
                elif talk.stream is not None:
                    talk.stream.response = None
                    talk.stream.attached.clear()
                raise
            finally:
                for one in waiting[1:]:
                    one.cancel()
            if task.done():
                with contextlib.suppress(asyncio.CancelledError):
                    answer = task.result()
                    if talk.stream is None:
                        return answer
                return failure(id_, 0, "cancelled") if talk.stream is None else talk.stream.first
            if talk.stream is not None and talk.stream.detached.is_set():
                return talk.stream.first

    async def _run(self, talk: Talk, complete: dict[str, Any]) -> Any:
        id_ = talk.message["id"]
        try:
            members = await self.tools[talk.params["name"]](talk)
            result = {"content": [], **complete, **(members or {})}
            error = result.pop("error", None)
            message = {"jsonrpc": "2.0", "id": id_} | ({"error": error} if error else {"result": result})
            if talk.stream is None:
                return web.json_response(message, headers=talk.headers, status=result.pop("status", 200))
            await talk.stream.write(message)
            talk.stream.answered = True
            await talk.stream.detach()
        finally:
            self._running.pop((talk.session.id if talk.session else None, id_), None)
        return None

    async def _get(self, request: web.Request) -> web.StreamResponse:
        self.received.append(Received("GET", request.headers.copy(), b""))
        session = self.sessions.get(request.headers.get("Mcp-Session-Id", ""))
        if session is None or "legacy" not in self.eras or not self.has_streams:
            return web.Response(status=405)
        stream, after = session.stream, len(session.stream.events)
        if last := request.headers.get("Last-Event-ID"):
            name, _, number = last.rpartition("-")
            streams = self.streams | {session.stream.id: session.stream}
            if name not in streams:
                return web.Response(status=400)
            stream, after = streams[name], int(number)
        response = await stream.attach(request, {"Mcp-Session-Id": session.id}, after)
        self.listening += 1
        try:
            if not stream.answered:
                await stream.detached.wait()
        finally:
            self.listening -= 1
            if stream.response is response:
                stream.response = None
                stream.attached.clear()
        return response

    async def _delete(self, request: web.Request) -> web.Response:
        self.received.append(Received("DELETE", request.headers.copy(), b""))
        id_ = request.headers.get("Mcp-Session-Id", "")
        self.ended.append(id_)
        self.sessions.pop(id_, None)
        return web.Response(status=200)


def result_of(id_: Any, members: dict[str, Any]) -> web.Response:
    """Return a JSON-RPC result."""
    return web.json_response({"jsonrpc": "2.0", "id": id_, "result": members})
