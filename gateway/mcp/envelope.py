"""One posted message, told apart: JSON-RPC 2.0 as MCP narrows it (basic/index)."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.mcp import json
from gateway.mcp.errors import INVALID_REQUEST, Malformed, Rejection

if TYPE_CHECKING:
    from collections.abc import Mapping

RESERVED_META = "io.modelcontextprotocol/"
META_VERSION = RESERVED_META + "protocolVersion"
META_CAPABILITIES = RESERVED_META + "clientCapabilities"
META_CLIENT_INFO = RESERVED_META + "clientInfo"
META_SERVER_INFO = RESERVED_META + "serverInfo"
META_LOG_LEVEL = RESERVED_META + "logLevel"
META_SUBSCRIPTION = RESERVED_META + "subscriptionId"
# In the envelope, in params, and in _meta, each name is compared with what it looks like; a tool's arguments are not.
MAX_MEMBERS = 1000


@dataclass(frozen=True, slots=True)
class Request:
    """A message that wants an answer; `id` keeps its JSON type."""

    id: str | int
    method: str
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def meta(self) -> Mapping[str, Any]:
        """The request's `_meta`, empty where it is missing or no object."""
        meta = self.params.get("_meta")
        return meta if isinstance(meta, dict) else {}


@dataclass(frozen=True, slots=True)
class Notification:
    """A message that wants no answer."""

    method: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """An answer that a client posted, to what a server asked it; `answer` has either `result` or `error`."""

    id: str | int
    answer: Mapping[str, Any] = field(default_factory=dict)


Message = Request | Notification | Response


def parse(body: bytes) -> Message | Rejection:
    """Return the one message that the body is, or why it is refused."""
    try:
        value = json.decode(body)
    except Malformed as error:
        return Rejection(400, error.code, str(error))
    if not isinstance(value, dict):
        what = "batches are not served" if isinstance(value, list) else "the body is not a JSON-RPC object"
        return Rejection(400, INVALID_REQUEST, what)
    id_ = value.get("id")
    known_id = id_ if _is_id(id_) else None
    fault = _envelope_fault(value)
    return Rejection(400, INVALID_REQUEST, fault, id=known_id) if fault else _message(value)


def _message(value: dict[str, Any]) -> Message:
    if "method" not in value:
        return Response(value["id"], {name: value[name] for name in ("result", "error") if name in value})
    params = value.get("params") or {}
    return Request(value["id"], value["method"], params) if "id" in value else Notification(value["method"], params)


def _is_id(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _envelope_fault(value: dict[str, Any]) -> str | None:
    if value.get("jsonrpc") != "2.0":
        return 'jsonrpc must be "2.0"'
    if "id" in value and not _is_id(value["id"]):
        return "id must be a string or an integer"
    if len(value) > MAX_MEMBERS:
        return "the message has too many members"
    if lookalike := _lookalike(value, _ENVELOPE):
        return f"the member {lookalike!r} looks like another"
    if "method" not in value:
        return _response_fault(value)
    if not isinstance(value["method"], str):
        return "method must be a string"
    if "result" in value or "error" in value:
        return "a message is a request or a response"
    return _params_fault(value.get("params"))


def _response_fault(value: dict[str, Any]) -> str | None:
    if "id" not in value or ("result" in value) == ("error" in value):
        return "the body is neither a request, a notification nor a response"
    return None


def _params_fault(params: Any) -> str | None:
    if params is None:
        return None
    if not isinstance(params, dict):
        return "params must be an object"
    meta = params.get("_meta")
    if max(len(params), len(meta) if isinstance(meta, dict) else 0) > MAX_MEMBERS:
        return "params or its _meta has too many members"
    lookalike = _lookalike(params, _PARAMS) or (isinstance(meta, dict) and _lookalike(meta, _META))
    return f"the member {lookalike!r} looks like another" if lookalike else None


def _folded(name: str) -> str:
    # What lenient readers do to names: Go ignores case, some libraries stop at NUL or normalise first.
    plain = name if name.isascii() else unicodedata.normalize("NFKC", name)
    return plain.replace("\0", "").casefold()


class _Names(NamedTuple):
    """The names of members that mean something: as they are written, and by what they fold to."""

    exact: frozenset[str]
    by_fold: Mapping[str, str]

    @classmethod
    def of(cls, *names: str) -> _Names:
        return cls(frozenset(names), {_folded(name): name for name in names})


_ENVELOPE = _Names.of("jsonrpc", "id", "method", "params", "result", "error")
_PARAMS = _Names.of(
    "_meta",
    "name",
    "arguments",
    "cursor",
    "task",
    "uri",
    "ref",
    "argument",
    "context",
    "level",
    "inputResponses",
    "requestState",
    "notifications",
    "protocolVersion",
    "capabilities",
    "clientInfo",
)
_META = _Names.of(
    "progressToken",
    "traceparent",
    "tracestate",
    "baggage",
    META_VERSION,
    META_CAPABILITIES,
    META_CLIENT_INFO,
    META_SERVER_INFO,
    META_LOG_LEVEL,
)


def _lookalike(members: Mapping[str, Any], known: _Names) -> str | None:
    """Return a member that folds to a known one without being it."""
    if members.keys() <= known.exact:
        return None
    for member in members:
        meant = known.by_fold.get(_folded(member))
        if meant is not None and meant != member:
            return member
    return None
