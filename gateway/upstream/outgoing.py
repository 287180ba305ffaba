"""Messages to servers: every id, header and reserved `_meta` key is the gateway's own; nothing of the agent's
connection goes along, third-party `_meta` keys do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.mcp import json
from gateway.mcp.envelope import META_CAPABILITIES, META_CLIENT_INFO, META_VERSION, RESERVED_META
from gateway.mcp.headers import METHOD, NAME, SESSION, VERSION, encoded
from gateway.mcp.results import SERVER_INFO

if TYPE_CHECKING:
    from collections.abc import Mapping

NEWEST_HANDSHAKE = "2025-11-25"
# This gateway relays no request of a server to an agent, so it declares that it can answer none.
_CAPABILITIES: Mapping[str, Any] = {}


def request(id_: int, method: str, params: Mapping[str, Any]) -> bytes:
    """Return a JSON-RPC request."""
    return json.encode({"jsonrpc": "2.0", "id": id_, "method": method, "params": params})


def notification(method: str, params: Mapping[str, Any] | None = None) -> bytes:
    """Return a JSON-RPC notification."""
    return json.encode({"jsonrpc": "2.0", "method": method} | ({"params": params} if params else {}))


def refusal(id_: bytes, method: str) -> bytes:
    """Return the answer to what a server asked on a stream: an empty result to a ping, -32601 to all else."""
    head = b'{"jsonrpc":"2.0","id":' + id_
    if method == "ping":
        return head + b',"result":{}}'
    return head + b',"error":{"code":-32601,"message":"Method not found"}}'


def call_params(tool: str, arguments: Mapping[str, Any] | None, meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of `tools/call`; `_meta` is left out where there is nothing to say."""
    params: dict[str, Any] = {"name": tool}
    if arguments is not None:
        params["arguments"] = arguments
    if meta:
        params["_meta"] = meta
    return params


def third_party(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of an agent's `_meta` goes on: trace context and foreign keys."""
    # Without a stream to the agent there is nowhere to report progress to.
    return {key: value for key, value in meta.items() if key != "progressToken" and not key.startswith(RESERVED_META)}


def modern_meta(version: str, meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `_meta` of a modern request (2026-07-28, basic/index)."""
    ours = {META_VERSION: version, META_CLIENT_INFO: SERVER_INFO, META_CAPABILITIES: _CAPABILITIES}
    return third_party(meta) | ours


def modern_headers(version: str, method: str, name: str | None = None) -> dict[str, str]:
    """Return the routing headers of a modern request."""
    headers = {VERSION: version, METHOD: method}
    if name is not None:
        headers[NAME] = encoded(name)
    return headers


def handshake_params() -> dict[str, Any]:
    """Return the parameters of `initialize`."""
    return {"protocolVersion": NEWEST_HANDSHAKE, "capabilities": _CAPABILITIES, "clientInfo": SERVER_INFO}


def legacy_headers(version: str, session: str | None) -> dict[str, str]:
    """Return the headers of a request after the handshake."""
    return {VERSION: version} if session is None else {VERSION: version, SESSION: session}
