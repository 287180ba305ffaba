"""The demo's servers, made with the official SDK, on a port of this process; modern, or as they were before."""

from __future__ import annotations

import asyncio
import importlib.util
import socket
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SERVERS = Path(__file__).parents[2] / "examples" / "front-door" / "servers.py"


@asynccontextmanager
async def sdk_server(*, modern: bool = True, json_response: bool = True, stateless: bool = False) -> AsyncIterator[str]:
    """Serve `payments` and yield its endpoint; not `modern`: one that has never heard of 2026-07-28."""
    spec = importlib.util.spec_from_file_location("demo_servers", SERVERS)
    assert spec
    assert spec.loader
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    app = demo.payments().streamable_http_app(json_response=json_response, stateless_http=stateless)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app if modern else _before(app), log_config=None, lifespan="on")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve([listener]))
        try:
            await until(lambda: server.started)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        finally:
            server.should_exit = server.force_exit = True
            await task


def _before(app: Any) -> Any:
    async def older(scope: Any, receive: Any, send: Any) -> None:
        # An older server would not know the version header's value, and ask for a session.
        if scope["type"] == "http":
            headers = [(name, b"2025-11-25" if value == b"2026-07-28" else value) for name, value in scope["headers"]]
            scope = {**scope, "headers": headers}
        await app(scope, receive, send)

    return older
