"""What the gateway answers, as bytes: its own results, and relayed ones with only the outermost members edited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Raw

from gateway import __version__
from gateway.mcp import json
from gateway.mcp.answers import is_object
from gateway.mcp.capabilities import can
from gateway.mcp.envelope import META_SERVER_INFO, RESERVED_META
from gateway.mcp.eras import LEGACY_VERSIONS, SUPPORTED_VERSIONS, Era
from gateway.mcp.errors import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    MISSING_CLIENT_CAPABILITY,
    MODERN_STATUS,
    RESOURCE_NOT_FOUND,
    UNSUPPORTED_VERSION,
    URL_ELICITATION_REQUIRED,
)
from gateway.mcp.sections import SECTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.mcp.agent import Agent
    from gateway.mcp.answers import Answer, RpcError
    from gateway.mcp.definitions import Fragment

SERVER_INFO: Mapping[str, str] = {"name": "portcullis", "version": __version__}
# Whatever servers there are: what an agent sees changes while it is here, and what was declared to it does not.
CAPABILITIES: Mapping[str, Any] = {
    "tools": {"listChanged": True},
    "prompts": {"listChanged": True},
    "resources": {"listChanged": True, "subscribe": True},
    "completions": {},
    "logging": {},
}

NOT_CAPABLE = "This tool needs something of its client that is not available through this gateway at this version"
_META = json.encode({META_SERVER_INFO: SERVER_INFO})
_COMPLETE = Raw(b'"complete"')
# A list depends on who asks and on what was withdrawn a moment ago: nobody may keep it.
_UNCACHED = b'"ttlMs":0,"cacheScope":"private"'
_LIST_HEADS: Mapping[str, Mapping[Era, bytes]] = {
    one.method: {
        Era.MODERN: b'{"resultType":"complete",%b,"_meta":%b,"%b":[' % (_UNCACHED, _META, one.member.encode()),
        Era.LEGACY: b'{"%b":[' % one.member.encode(),
    }
    for one in SECTIONS.values()
}
READ = "resources/read"
_Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_MODERN_ONLY = frozenset({"resultType", "ttlMs", "cacheScope"})
# Codes that would say something about this gateway's own conduct, or that no server may send any more.
_TRANSLATED: Mapping[int, int] = {
    RESOURCE_NOT_FOUND: INVALID_PARAMS,
    URL_ELICITATION_REQUIRED: INTERNAL_ERROR,
    HEADER_MISMATCH: INTERNAL_ERROR,
    MISSING_CLIENT_CAPABILITY: INTERNAL_ERROR,
    UNSUPPORTED_VERSION: INTERNAL_ERROR,
}


def success(id_: str | int, result: bytes) -> bytes:
    """Return a JSON-RPC response around the JSON text of a result."""
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (json.encode(id_), result)


def error(id_: str | int | None, code: int, message: str, data: Any = None) -> bytes:
    """Return a JSON-RPC error; `id_` None where the request could not be read, `data` left out where None."""
    fault: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        fault["data"] = data
    return json.encode({"jsonrpc": "2.0", "id": id_, "error": fault})


def agreed(requested: Any) -> str:
    """Return the version of a handshake: the one asked for if it is one of the handshake's, else the newest of them."""
    return requested if requested in LEGACY_VERSIONS else LEGACY_VERSIONS[0]


def initialize(id_: str | int, version: str, capabilities: Mapping[str, Any] = CAPABILITIES) -> bytes:
    """Return the handshake's result."""
    result = {"protocolVersion": version, "capabilities": capabilities, "serverInfo": SERVER_INFO}
    return success(id_, json.encode(result))


def discover(id_: str | int, capabilities: Mapping[str, Any] = CAPABILITIES) -> bytes:
    """Return the result of `server/discover`: every version served, in both eras."""
    result = {
        "resultType": "complete",
        "supportedVersions": SUPPORTED_VERSIONS,
        "capabilities": capabilities,
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": {META_SERVER_INFO: SERVER_INFO},
    }
    return success(id_, json.encode(result))


def empty(id_: str | int) -> bytes:
    """Return the result that says that something was done, as to a legacy `ping`."""
    return success(id_, b"{}")


def listed(id_: str | int, era: Era, method: str, found: Fragment) -> tuple[bytes, ...]:
    """Return the result of a list around definitions that are encoded already, in pieces: it may be large."""
    head = b'{"jsonrpc":"2.0","id":%b,"result":%b' % (json.encode(id_), _LIST_HEADS[method][era])
    return head, found.modern if era is Era.MODERN else found.legacy, b"]}}"


def tool_error(id_: str | int, era: Era, text: str) -> bytes:
    """Return a tool result that says, to the model too, why the tool did not run."""
    content = b'{"content":' + json.encode([{"type": "text", "text": text}]) + b',"isError":true'
    if era is Era.MODERN:
        return success(id_, content + b',"resultType":"complete","_meta":' + _META + b"}")
    return success(id_, content + b"}")


def relayed(id_: str | int, agent: Agent, method: str, answer: Answer) -> tuple[bytes, int]:
    """Return a server's answer as the agent's revision has it, and the HTTP status that goes with it.

    What lies within its members is untouched.
    """
    if answer.error is not None:
        return _relayed_error(id_, agent, method, answer.error)
    members = _modern(answer.result) if agent.era is Era.MODERN else _legacy(answer.result)
    if method == READ and agent.era is Era.MODERN and bytes(members["resultType"]) == bytes(_COMPLETE):
        members |= _kept_privately(answer.result)
    return success(id_, msgspec.json.encode(members)), 200


def relayed_code(code: int, agent: Agent) -> int:
    """Return the code under which a server's JSON-RPC error is passed on."""
    if code == MISSING_CLIENT_CAPABILITY and agent.era is Era.MODERN:
        return code
    if code == URL_ELICITATION_REQUIRED and can(agent.capabilities, "elicitation/create", {"mode": "url"}):
        return code if agent.era is Era.LEGACY else INTERNAL_ERROR
    return _TRANSLATED.get(code, code)


def _relayed_error(id_: str | int, agent: Agent, method: str, fault: RpcError) -> tuple[bytes, int]:
    if fault.code == MISSING_CLIENT_CAPABILITY and agent.era is Era.LEGACY and method == "tools/call":
        # An older agent knows no such error, and its model can make something of a tool's.
        return tool_error(id_, agent.era, NOT_CAPABLE), 200
    code = relayed_code(fault.code, agent)
    if fault.code == RESOURCE_NOT_FOUND and agent.era is Era.LEGACY and method == READ:
        code = fault.code
    data = None if fault.data is None or code != fault.code else Raw(fault.data)
    body: dict[str, Any] = {"code": code, "message": fault.message} | ({} if data is None else {"data": data})
    head = b'{"jsonrpc":"2.0","id":' + json.encode(id_)
    http_status = MODERN_STATUS[code] if code == MISSING_CLIENT_CAPABILITY else 200
    return head + b',"error":' + msgspec.json.encode(body) + b"}", http_status


def _modern(result: Mapping[str, Raw]) -> dict[str, Any]:
    members: dict[str, Any] = {"resultType": _COMPLETE, **result}
    theirs = third_party(result.get("_meta"))
    members["_meta"] = theirs | {META_SERVER_INFO: SERVER_INFO} if theirs else Raw(_META)
    return members


def _legacy(result: Mapping[str, Raw]) -> dict[str, Any]:
    members: dict[str, Any] = {name: raw for name, raw in result.items() if name not in _MODERN_ONLY}
    structured = result.get("structuredContent")
    if structured is not None and not is_object(structured):
        # Before 2026-07-28 only objects are legal there; the text block says the same.
        del members["structuredContent"]
    if "_meta" in result:
        del members["_meta"]
        if theirs := third_party(result["_meta"]):
            members["_meta"] = theirs
    return members


def _kept_privately(result: Mapping[str, Raw]) -> dict[str, Any]:
    """Return for how long an agent may keep what it has read: as its server says, and for itself alone."""
    try:
        ttl = msgspec.json.decode(result.get("ttlMs", b"0"), type=_Milliseconds)
    except msgspec.MsgspecError:
        ttl = 0
    return {"ttlMs": ttl, "cacheScope": "private"}


def third_party(meta: Raw | None) -> dict[str, Any]:
    """Return the members of a server's `_meta` that are not the gateway's to set."""
    if meta is None or not is_object(meta):
        return {}
    members = msgspec.json.decode(meta, type=dict[str, Raw])
    return {name: raw for name, raw in members.items() if not name.startswith(RESERVED_META)}
