"""A fast hand-written MCP server to measure against: it answers both eras and does nothing with a call.

`/<n>/mcp` offers n tools named `tool_<n>_<i>` and one, `slow_<n>`, that takes a second; `/jwks` serves the public
key of the measurements' tokens. Run as `python -m bench.backend <port> <JWKS file>`.
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
    """Return the result of `tools/list` for `count` tools, the slow one among them."""
    names = [tool_name(count, index) for index in range(count - 1)] + [f"slow_{count}"]
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

    async def mcp(self, request: web.Request) -> web.Response:
        """Answer one message."""
        message = orjson.loads(await request.read())
        if "id" not in message:
            return web.Response(status=202)
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
