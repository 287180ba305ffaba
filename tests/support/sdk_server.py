"""The demo's servers, made with the official SDK, on a port of this process; modern, or as they were before."""

from __future__ import annotations

import importlib.util
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.asgi import serving

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
    async with serving(app if modern else _before(app)) as origin:
        yield f"{origin}/mcp"


def _before(app: Any) -> Any:
    async def older(scope: Any, receive: Any, send: Any) -> None:
        # An older server would not know the version header's value, and ask for a session.
        if scope["type"] == "http":
            headers = [(name, b"2025-11-25" if value == b"2026-07-28" else value) for name, value in scope["headers"]]
            scope = {**scope, "headers": headers}
        await app(scope, receive, send)

    return older
