"""A small real MCP server that keeps every byte it is sent, and that can be told to misbehave."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.support.listening import listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from multidict import CIMultiDict

MODERN = "2026-07-28"
LEGACY = "2025-11-25"


def tool(name: str, **members: Any) -> dict[str, Any]:
    """Return a definition with an open schema."""
    return {"name": name, "description": f"does {name}", "inputSchema": {"type": "object"}, **members}


# Which list of an offer is asked for by which method, and what a capability of the server is called.
LISTS = {
    "tools/list": ("tools", "tools"),
    "prompts/list": ("prompts", "prompts"),
    "resources/list": ("resources", "resources"),
    "resources/templates/list": ("resourceTemplates", "resources"),
}
LISTING = frozenset({"server/discover", "initialize", "notifications/initialized", *LISTS})
ASKING = frozenset({"tools/call", "prompts/get", "resources/read", "completion/complete"})


@dataclass(frozen=True, slots=True)
class Received:
    """One HTTP request as it came."""

    verb: str
    headers: CIMultiDict[str]
    body: bytes

    @property
    def message(self) -> Any:
        """The body decoded."""
        return json.loads(self.body) if self.body else None

    @property
    def method(self) -> str | None:
        """The JSON-RPC method, if it is a message with one."""
        return (self.message or {}).get("method")


@dataclass
class FakeBackend:
    """An MCP server of either era. What it is told to do is read anew for every request.

    `definitions` are tools, decoded or as JSON text, `others` what it offers beside by the name of the list, such as
    `prompts`; `answer(params)` gives the members of a call's result, or its
    whole JSON text; `misbehave(request, message)` may answer instead of the server, or return None.
    """

    era: str = "modern"
    definitions: list[dict[str, Any] | bytes] = field(default_factory=lambda: [tool("charge"), tool("refund")])
    others: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    sessions: bool = False
    sse: bool = False
    page_size: int | None = None
    delay: asyncio.Event | None = None
    answer: Callable[[dict[str, Any]], dict[str, Any] | bytes] | None = None
    misbehave: Callable[[web.Request, Any], Awaitable[web.StreamResponse | None]] | None = None
    received: list[Received] = field(default_factory=list)
    open_sessions: set[str] = field(default_factory=set)
    aborted: int = 0
    url: str = ""
    _numbers: Any = field(default_factory=lambda: count(1))

    @property
    def calls(self) -> list[Received]:
        """Every `tools/call` that arrived."""
        return self.of("tools/call")

    @property
    def passed_on(self) -> list[Received]:
        """Every message that arrived, but for those by which a gateway itself lists the tools, each minute."""
        return [received for received in self.received if received.method not in LISTING]

    def of(self, method: str) -> list[Received]:
        """Every message of one method that arrived."""
        return [received for received in self.received if received.method == method]

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[FakeBackend]:
        """Listen on loopback for as long as the block lasts; on the same port again after a second `serve`."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/mcp", self._handle)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        async with listening(runner, port) as origin:
            self.url = f"{origin}/mcp"
            yield self

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2].partition("/")[0])

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        received = Received(request.method, request.headers.copy(), await request.read())
        self.received.append(received)
        if request.method == "DELETE":
            self.open_sessions.discard(request.headers.get("Mcp-Session-Id", ""))
            return web.Response(status=200)
        if request.method != "POST":
            return web.Response(status=405)
        if self.misbehave is not None and (odd := await self.misbehave(request, received.message)) is not None:
            return odd
        return await (self._modern if self.era == "modern" else self._legacy)(request, received.message)

    async def _modern(self, request: web.Request, message: Any) -> web.StreamResponse:
        if request.headers.get("MCP-Protocol-Version") != MODERN:
            data = {"supported": [MODERN], "requested": request.headers.get("MCP-Protocol-Version", "")}
            return failure(message.get("id"), -32022, "Unsupported protocol version", 400, data)
        params = message["params"]
        named = params.get("uri" if message["method"] == "resources/read" else "name", "")
        if request.headers.get("Mcp-Method") != message["method"] or request.headers.get("Mcp-Name", "") != named:
            return failure(message["id"], -32020, "header mismatch", 400)
        if message["method"] == "server/discover":
            members = {
                "supportedVersions": [MODERN],
                "capabilities": self.capabilities,
                "ttlMs": 0,
                "cacheScope": "private",
            }
            return await self._reply(request, message["id"], {"resultType": "complete", **members})
        return await self._tools(request, message, {"resultType": "complete"})

    async def _legacy(self, request: web.Request, message: Any) -> web.StreamResponse:
        session = request.headers.get("Mcp-Session-Id")
        if message.get("method") == "initialize":
            return await self._initialize(request, message)
        if self.sessions and session is None:
            return failure(None, -32600, "Bad Request: Missing session ID", 400)
        if self.sessions and session not in self.open_sessions:
            return failure(None, -32600, "Session not found", 404)
        if "id" not in message or "method" not in message:
            return web.Response(status=202)
        return await self._tools(request, message, {})

    async def _initialize(self, request: web.Request, message: Any) -> web.StreamResponse:
        info = {"name": "fake", "version": "1"}
        result = {"protocolVersion": LEGACY, "capabilities": self.capabilities, "serverInfo": info}
        headers = {}
        if self.sessions:
            headers["Mcp-Session-Id"] = f"session-{next(self._numbers)}"
            self.open_sessions.add(headers["Mcp-Session-Id"])
        return await self._reply(request, message["id"], result, headers)

    async def _tools(self, request: web.Request, message: Any, members: dict[str, Any]) -> web.StreamResponse:
        if (asked := LISTS.get(message["method"])) is not None and asked[1] in self.capabilities:
            page = self._page(asked[0], message["params"].get("cursor"), members)
            return await self._reply(request, message["id"], page)
        if message["method"] not in ASKING:
            return failure(message["id"], -32601, "Method not found", 404 if members else 200)
        if self.delay is not None:
            try:
                await self.delay.wait()
            except asyncio.CancelledError:
                self.aborted += 1
                raise
        if self.answer is not None:
            return await self._reply(request, message["id"], self.answer(message["params"]))
        return await self._reply(request, message["id"], {**done(message["method"], message["params"]), **members})

    @property
    def capabilities(self) -> dict[str, Any]:
        """What the server declares: tools, and whatever it offers beside."""
        return {"tools": {}} | {LISTS[method][1]: {} for method in LISTS if LISTS[method][0] in self.others}

    def _page(self, list_: str, cursor: str | None, members: dict[str, Any]) -> bytes:
        definitions = self.definitions if list_ == "tools" else self.others.get(list_, [])
        size = self.page_size or max(len(definitions), 1)
        start = int(cursor or 0)
        shown = definitions[start : start + size]
        members = dict(members)
        if start + size < len(definitions):
            members["nextCursor"] = str(start + size)
        elements = b",".join(one if isinstance(one, bytes) else json.dumps(one).encode() for one in shown)
        rest = json.dumps(members)[1:-1].encode()
        return b'{"%b":[%b]%b}' % (list_.encode(), elements, b"," + rest if rest else b"")

    async def _reply(
        self, request: web.Request, id_: Any, result: dict[str, Any] | bytes, headers: dict[str, str] | None = None
    ) -> web.StreamResponse:
        text = result if isinstance(result, bytes) else json.dumps(result).encode()
        body = b'{"jsonrpc":"2.0","id":' + json.dumps(id_).encode() + b',"result":' + text + b"}"
        if self.sse:
            return await stream(request, [b"event: message\ndata: " + body + b"\n\n"], headers)
        return web.Response(body=body, content_type="application/json", headers=headers)


def done(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """Return the members of a result that says what was asked for."""
    match method:
        case "prompts/get":
            content = {"type": "text", "text": f"{params['name']} {json.dumps(params.get('arguments', {}))}"}
            return {"messages": [{"role": "user", "content": content}]}
        case "resources/read":
            return {"contents": [{"uri": params["uri"], "text": f"content of {params['uri']}"}]}
        case "completion/complete":
            return {"completion": {"values": [json.dumps(params["ref"]), params["argument"]["value"]]}}
        case _:
            return {"content": [{"type": "text", "text": f"{params['name']} done"}]}


def prompt(name: str, **members: Any) -> dict[str, Any]:
    """Return the definition of a prompt."""
    return {"name": name, "description": f"says {name}", **members}


def resource(uri: str, **members: Any) -> dict[str, Any]:
    """Return the definition of a resource."""
    return {"uri": uri, "name": uri.rpartition("/")[2] or uri, **members}


def template(text: str, **members: Any) -> dict[str, Any]:
    """Return the definition of a resource template."""
    return {"uriTemplate": text, "name": text, **members}


def failure(id_: Any, code: int, message: str, status: int = 200, data: Any = None) -> web.Response:
    """Return a JSON-RPC error."""
    fault = {"code": code, "message": message} | ({} if data is None else {"data": data})
    return web.json_response({"jsonrpc": "2.0", "id": id_, "error": fault}, status=status)


async def stream(
    request: web.Request, chunks: Iterable[bytes], headers: dict[str, str] | None = None
) -> web.StreamResponse:
    """Answer with an event stream made of these chunks."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **(headers or {})})
    await response.prepare(request)
    for chunk in chunks:
        await response.write(chunk)
    await response.write_eof()
    return response
