"""A fast hand-written MCP server to measure against: it answers both eras and does nothing with a call.

`/<n>/mcp` offers n tools: `slow_<n>`, that takes a second, `stream_<n>`, that reports progress as often as it is told
before it answers, and `tool_<n>_<i>`; `/jwks` serves the public key of the measurements' tokens. Run as
`python -m bench.backend <port> <JWKS file>`.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import orjson
import uvloop
from aiohttp import web

from bench.asking import MODERN, SLOW_SECONDS, tool_name

SERVER_INFO = {"name": "bench", "version": "1"}
CAPABILITIES: dict[str, Any] = {"tools": {}}
STREAM_PAUSE_SECONDS = 0.0005
PROGRESS = (
    b'event: message\r\ndata: {"jsonrpc":"2.0","method":"notifications/progress","params":'
    b'{"progressToken":%b,"progress":%d,"total":%d,"message":"Moved one of many amounts"}}\r\n\r\n'
)
DESCRIPTION = "Moves an amount from one account to another and answers the receipt. " * 4


def definition(name: str) -> dict[str, Any]:
    """Return a definition of about 1 kB, as real tools have."""
    text = {"type": "string", "minLength": 1, "maxLength": 64, "description": "The account, by its IBAN or its alias."}
    fields = {
        "source": text,
        "target": text,
        "amount": {"type": "integer", "minimum": 1, "description": "In the smallest unit of the currency."},
        "currency": {"type": "string", "enum": ["EUR", "USD", "GBP", "CHF"], "description": "ISO 4217."},
    }
    schema = {"type": "object", "properties": fields, "required": ["source", "target", "amount"]}
    return {"name": name, "title": name.title(), "description": DESCRIPTION, "inputSchema": schema}


def listing(count: int) -> bytes:
    """Return the result of `tools/list` for `count` tools, the slow and the streaming one among them."""
    names = [tool_name(count, index) for index in range(count - 2)] + [f"slow_{count}", f"stream_{count}"]
    tools = [definition(name) for name in names]
    return orjson.dumps({"resultType": "complete", "ttlMs": 0, "cacheScope": "private", "tools": tools})


def discovered() -> dict[str, Any]:
    """Return the result of `server/discover`."""
    head = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
    return head | {"supportedVersions": [MODERN], "capabilities": CAPABILITIES, "serverInfo": SERVER_INFO}


def called(params: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a call: the arguments, repeated."""
    arguments = params.get("arguments") or {}
    content = [{"type": "text", "text": orjson.dumps(arguments).decode()}]
    return {"resultType": "complete", "content": content, "structuredContent": arguments, "isError": False}


async def streamed(request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
    """Report progress `count` times, `at_once` in one write, and answer."""
    params = message["params"]
    count, at_once = params["arguments"]["count"], params["arguments"]["at_once"]
    token = orjson.dumps(params["_meta"]["progressToken"])
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    events = [PROGRESS % (token, number, count) for number in range(count)]
    for first in range(0, count, at_once):
        await response.write(b"".join(events[first : first + at_once]))
        # Each write on its own, as a server's are that has something to do in between.
        await asyncio.sleep(STREAM_PAUSE_SECONDS)
    result = orjson.dumps({"jsonrpc": "2.0", "id": message["id"], "result": called(params)})
    await response.write(b"event: message\r\ndata: " + result + b"\r\n\r\n")
    return response


class Backend:
    """The server's handlers; lists are encoded once."""

    def __init__(self, jwks: bytes) -> None:
        self._jwks = jwks
        self._listings: dict[int, bytes] = {}

    def application(self) -> web.Application:
        """Return the application."""
        app = web.Application()
        app.add_routes([web.post(r"/{count:\d+}/mcp", self.mcp), web.get("/jwks", self.keys)])
        return app

    async def keys(self, _: web.Request) -> web.Response:
        """Answer the key set."""
        return web.Response(body=self._jwks, content_type="application/json")

    async def mcp(self, request: web.Request) -> web.StreamResponse:
        """Answer one message."""
        message = orjson.loads(await request.read())
        if "id" not in message:
            return web.Response(status=202)
        if message.get("params", {}).get("name", "").startswith("stream_"):
            return await streamed(request, message)
        result = await self._result(int(request.match_info["count"]), message)
        if result is None:
            fault = {"code": -32601, "message": "Method not found"}
            body = orjson.dumps({"jsonrpc": "2.0", "id": message["id"], "error": fault})
        else:
            body = b'{"jsonrpc":"2.0","id":' + orjson.dumps(message["id"]) + b',"result":' + result + b"}"
        return web.Response(body=body, content_type="application/json")

    async def _result(self, count: int, message: dict[str, Any]) -> bytes | None:
        params = message.get("params", {})
        match message["method"]:
            case "tools/call":
                if params["name"].startswith("slow_"):
                    await asyncio.sleep(SLOW_SECONDS)
                return orjson.dumps(called(params))
            case "tools/list":
                return self._listed(count)
            case "server/discover":
                return orjson.dumps(discovered())
            case _:
                return None

    def _listed(self, count: int) -> bytes:
        if count not in self._listings:
            self._listings[count] = listing(count)
        return self._listings[count]


async def serve(port: int, jwks: bytes) -> None:
    """Serve until the process is ended."""
    runner = web.AppRunner(Backend(jwks).application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), Path(sys.argv[2]).read_bytes()))
