"""One server over stdio, started for a test, and what it keeps of what it was sent."""

from __future__ import annotations

import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.ids import Ref
from gateway.model import CredentialKind, Principal
from gateway.upstream.pool import Upstreams
from gateway.upstream.target import StdioTarget
from tests.support.upstreams import call_tool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.mcp.answers import Answer

SCRIPT = Path(__file__).with_name("local_server.py")


def command(*arguments: object) -> tuple[str, ...]:
    """Return what starts the server with these arguments."""
    return (sys.executable, "-IS", str(SCRIPT), *map(str, arguments))


def caller(
    tenant: str | None = "tenant:a", subject: str = "user:jo", kind: CredentialKind = CredentialKind.JWT
) -> Principal:
    """Return somebody."""
    return Principal(subject, kind, tenant, "https://idp")


@asynccontextmanager
async def local(
    *arguments: object, folder: Path | None = None, options: dict[str, Any] | None = None, **members: Any
) -> AsyncIterator[Upstreams]:
    """Run the server under the name of `local`; `members` are its target's, `options` those of all servers."""
    target = StdioTarget("local", command(*arguments), directory=folder or Path(), **members)
    upstreams = Upstreams({"local": target}, **(options or {}))
    try:
        yield upstreams
    finally:
        await upstreams.close()


async def call(upstreams: Upstreams, tool: str, who: Principal | None = None, **arguments: Any) -> Answer:
    """Call a tool."""
    return await call_tool(upstreams, Ref.of_tool("local", tool), arguments, {}, who or caller())


async def text(upstreams: Upstreams, tool: str, who: Principal | None = None, **arguments: Any) -> str:
    """Call a tool and return what it says."""
    found: str = (await call(upstreams, tool, who, **arguments)).member("content")[0]["text"]
    return found


async def about(upstreams: Upstreams, who: Principal | None = None) -> dict[str, Any]:
    """Return what the process says of itself."""
    found: dict[str, Any] = json.loads(await text(upstreams, "about", who))
    return found


def sent(trace: Path) -> list[dict[str, Any]]:
    """Return every message that it was sent so far."""
    return [json.loads(line) for line in trace.read_bytes().splitlines()] if trace.exists() else []


def asked(trace: Path, tool: str) -> list[dict[str, Any]]:
    """Return every call of a tool that it was sent so far."""
    return [one for one in sent(trace) if one.get("params", {}).get("name") == tool]
