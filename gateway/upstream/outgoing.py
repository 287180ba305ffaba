"""Messages to servers: every id, header and reserved `_meta` key is the gateway's own; nothing of the agent's
connection goes along, third-party `_meta` keys do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.mcp import json
from gateway.mcp.envelope import META_CAPABILITIES, META_CLIENT_INFO, META_LOG_LEVEL, META_VERSION, RESERVED_META
from gateway.mcp.headers import METHOD, NAME, NAMED_BY, SESSION, VERSION, encoded
from gateway.mcp.results import SERVER_INFO

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.mcp.agent import Agent

NEWEST_HANDSHAKE = "2025-11-25"


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


def params_of(method: str, name: str, members: Mapping[str, Any], meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a call; `_meta` is left out where there is nothing to say."""
    member = NAMED_BY.get(method)
    params: dict[str, Any] = dict(members) if member is None else {member: name, **members}
    if meta:
        params["_meta"] = meta
    return params


def third_party(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of an agent's `_meta` goes on: trace context and foreign keys."""
    return {key: value for key, value in meta.items() if key != "progressToken" and not key.startswith(RESERVED_META)}


def legacy_meta(meta: Mapping[str, Any], token: int | None = None) -> dict[str, Any]:
    """Return the `_meta` of a request to an older server, with the gateway's own token where progress is wanted."""
    theirs = third_party(meta)
    return theirs if token is None else theirs | {"progressToken": token}


def modern_meta(
    version: str, meta: Mapping[str, Any], agent: Agent | None = None, token: int | None = None
) -> dict[str, Any]:
    """Return the `_meta` of a modern request (2026-07-28, basic/index): the agent can what it says, within what is
    passed on here; without an agent, nothing."""
    ours: dict[str, Any] = {
        META_VERSION: version,
        META_CLIENT_INFO: SERVER_INFO,
        META_CAPABILITIES: agent.capabilities if agent else {},
    }
    if agent is not None and agent.level is not None:
        ours[META_LOG_LEVEL] = agent.level
    return legacy_meta(meta, token) | ours


def modern_headers(version: str, method: str, name: str | None = None) -> dict[str, str]:
    """Return the routing headers of a modern request."""
    headers = {VERSION: version, METHOD: method}
    if name is not None:
        headers[NAME] = encoded(name)
    return headers


def handshake_params(agent: Agent | None = None) -> dict[str, Any]:
    """Return the parameters of `initialize` for an agent that is in a session, or for the gateway itself."""
    version, capabilities = (agent.version, agent.capabilities) if agent and agent.session else (NEWEST_HANDSHAKE, {})
    return {"protocolVersion": version, "capabilities": capabilities, "clientInfo": SERVER_INFO}


def legacy_headers(version: str, session: str | None) -> dict[str, str]:
    """Return the headers of a request after the handshake."""
    return {VERSION: version} if session is None else {VERSION: version, SESSION: session}
