"""Agents of either era, as far as a test needs one: the messages and headers that they send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.gateway import MODERN

if TYPE_CHECKING:
    from tests.support.gateway import Portcullis, Reply

LEGACY_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26")
EVERY_VERSION = (MODERN, *LEGACY_VERSIONS)
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test agent", "version": "1"},
}


def message(version: str, method: str, params: Any = None, id_: Any = 1) -> dict[str, Any]:
    """Return a request as an agent of that revision sends it."""
    params = dict(params or {})
    if version == MODERN:
        params["_meta"] = META | params.get("_meta", {})
    return {"jsonrpc": "2.0", "id": id_, "method": method, "params": params}


def headers(version: str, method: str, params: Any = None) -> dict[str, str]:
    """Return the headers that go with it, with underscores for hyphens."""
    found = {"Accept": "application/json, text/event-stream", "MCP_Protocol_Version": version}
    if version == MODERN:
        found["Mcp_Method"] = method
        if method == "tools/call" and isinstance((params or {}).get("name"), str):
            found["Mcp_Name"] = params["name"]
    return found


async def ask(
    gateway: Portcullis, version: str, method: str, params: Any = None, *, token: str | None, id_: Any = 1, **extra: str
) -> Reply:
    """Post a request as an agent of that revision; a header in `extra` replaces its own, an empty one removes it."""
    sent = headers(version, method, params) | extra
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"
    kept = {name: value for name, value in sent.items() if value}
    return await gateway.http("POST", "/mcp", message(version, method, params, id_), **kept)
