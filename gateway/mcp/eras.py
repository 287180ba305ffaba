"""Which revision a message speaks, and the rungs it must pass before anybody looks at what it asks.

Modern is 2026-07-28: no handshake, every request carries its own version. Legacy is everything before: `initialize`,
and a session for those who go on with one. The body decides; headers are compared with it and choose nothing that
matters.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from gateway.mcp.envelope import META_CAPABILITIES, META_CLIENT_INFO, META_VERSION, Notification, Request, Response
from gateway.mcp.errors import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MODERN_STATUS,
    UNSUPPORTED_VERSION,
    Rejection,
)
from gateway.mcp.headers import METHOD, NAME, NAMED_BY, VERSION, BadHeader, accepted, decoded, single

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.mcp.envelope import Message
    from gateway.mcp.headers import HeaderLines

MODERN_VERSIONS = ("2026-07-28",)
LEGACY_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26")
SUPPORTED_VERSIONS = MODERN_VERSIONS + LEGACY_VERSIONS
# What a client that names no version speaks (2025-06-18, basic/transports).
UNNAMED_VERSION = "2025-03-26"
# Clients were seen to send the header of a revision that they did not negotiate; 2024-11-05 has no other use.
_LEGACY_HEADERS = frozenset((*LEGACY_VERSIONS, "2024-11-05"))


class Era(StrEnum):
    """Modern is stateless, with its version in every request; legacy starts with a handshake."""

    MODERN = "modern"
    LEGACY = "legacy"


class Action(StrEnum):
    """What is done about a message; lists, `subscriptions/listen` and the methods of `named.NAMED` ask policy."""

    INITIALIZE = "initialize"
    DISCOVER = "server/discover"
    PING = "ping"
    SET_LEVEL = "logging/setLevel"
    LISTEN = "subscriptions/listen"
    ACCEPT = "accept"
    SUBSCRIBE = "resources/subscribe"
    UNSUBSCRIBE = "resources/unsubscribe"
    LIST = "list"
    CALL = "call"


_BOTH = frozenset(Era)
_LEGACY = frozenset({Era.LEGACY})
_MODERN = frozenset({Era.MODERN})

# Every MCP method that is served. A method that is not here is closed.
METHODS: Mapping[str, tuple[frozenset[Era], Action]] = {
    "initialize": (_LEGACY, Action.INITIALIZE),
    "ping": (_LEGACY, Action.PING),
    "logging/setLevel": (_LEGACY, Action.SET_LEVEL),
    "server/discover": (_MODERN, Action.DISCOVER),
    "subscriptions/listen": (_MODERN, Action.LISTEN),
    "resources/subscribe": (_LEGACY, Action.SUBSCRIBE),
    "resources/unsubscribe": (_LEGACY, Action.UNSUBSCRIBE),
    "tools/list": (_BOTH, Action.LIST),
    "prompts/list": (_BOTH, Action.LIST),
    "resources/list": (_BOTH, Action.LIST),
    "resources/templates/list": (_BOTH, Action.LIST),
    "tools/call": (_BOTH, Action.CALL),
    "prompts/get": (_BOTH, Action.CALL),
    "resources/read": (_BOTH, Action.CALL),
    "completion/complete": (_BOTH, Action.CALL),
}
NOTIFICATIONS = "notifications/"


@dataclass(frozen=True, slots=True)
class Route:
    """A message that passed every rung. `client` is what the agent says of itself, believed by nobody."""

    era: Era
    version: str
    action: Action
    client: Mapping[str, str] = field(default_factory=dict)


def classify(headers: HeaderLines, message: Message) -> Route | Rejection:
    """Return where a posted message goes, or the first rung that it fails, with the message's id."""
    verdict = _classify(headers, message)
    if isinstance(verdict, Rejection) and isinstance(message, Request):
        return replace(verdict, id=message.id)
    return verdict


def classify_line(message: Message, shaken: str | None) -> Route | Rejection:
    """Return where a message goes that came without headers: its body alone says what it speaks (transports/stdio).

    `shaken` is the version that a handshake on the same pipe has settled, None before one.
    """
    if not isinstance(message, Request):
        return _unanswered(shaken, message)
    if META_VERSION in message.meta:
        verdict = _missing(message.meta) or _of_version(message.meta[META_VERSION], message)
    else:
        verdict = _routed(Era.LEGACY, shaken or UNNAMED_VERSION, message, message.params.get("clientInfo"))
    return replace(verdict, id=message.id) if isinstance(verdict, Rejection) else verdict


def spoken(headers: HeaderLines) -> Era | None:
    """Return the era of a request without a body by its version header, None for a version that is not served."""
    try:
        version = single(headers, VERSION)
    except BadHeader:
        return None
    if version is None or version in _LEGACY_HEADERS:
        return Era.LEGACY
    return Era.MODERN if version in MODERN_VERSIONS else None


def status(era: Era, code: int) -> int:
    """Return the HTTP status that goes with a JSON-RPC error; legacy clients read errors from a 200."""
    return MODERN_STATUS.get(code, 200) if era is Era.MODERN else 200


def _classify(headers: HeaderLines, message: Message) -> Route | Rejection:
    kinds = accepted(headers)
    if not kinds.json and not kinds.events:
        return Rejection(406, INVALID_REQUEST, "Not Acceptable: answers are application/json or text/event-stream")
    try:
        version, method, name = single(headers, VERSION), single(headers, METHOD), single(headers, NAME)
    except BadHeader as error:
        return Rejection(400, HEADER_MISMATCH, str(error))
    if not isinstance(message, Request):
        return _unanswered(version, message)
    claimed = message.meta.get(META_VERSION)
    if version in _LEGACY_HEADERS or (version is None and claimed is None):
        return _legacy(version, claimed, method, name, message)
    return _modern(version, method, name, message)


def _legacy(
    version: str | None, claimed: Any, method: str | None, name: str | None, request: Request
) -> Route | Rejection:
    if claimed is not None and claimed != version:
        # A legacy header must not smuggle a modern request past the modern rungs.
        return _mismatch(VERSION, "the version in params._meta")
    # No legacy client sends these two; whoever stands before the gateway may have routed by them.
    if disagreement := _disagreement(method, name, request, required=False):
        return disagreement
    return _routed(Era.LEGACY, version or UNNAMED_VERSION, request, request.params.get("clientInfo"))


def _modern(version: str | None, method: str | None, name: str | None, request: Request) -> Route | Rejection:
    meta = request.meta
    if version in MODERN_VERSIONS and (missing := _missing(meta)):
        return missing
    if version is not None and META_VERSION not in meta:
        return _unsupported(version)
    # A client that disagrees with itself is told so, rather than that one of its two versions is not served.
    if version is None or version != meta[META_VERSION]:
        return _mismatch(VERSION, "the version in params._meta")
    if disagreement := _disagreement(method, name, request, required=True):
        return disagreement
    return _of_version(version, request)


def _missing(meta: Mapping[str, Any]) -> Rejection | None:
    missing = [key for key in (META_VERSION, META_CAPABILITIES) if key not in meta]
    return Rejection(400, INVALID_PARAMS, f"params._meta is missing {', '.join(missing)}") if missing else None


def _of_version(version: Any, request: Request) -> Route | Rejection:
    """Route a request by the version that it claims, once nothing contradicts that."""
    if version not in MODERN_VERSIONS:
        return _unsupported(version)
    if not isinstance(request.meta[META_CAPABILITIES], dict):
        return Rejection(400, INVALID_PARAMS, f"{META_CAPABILITIES} must be an object")
    return _routed(Era.MODERN, version, request, request.meta.get(META_CLIENT_INFO))


def _disagreement(method: str | None, name: str | None, request: Request, *, required: bool) -> Rejection | None:
    if method != request.method and (required or method is not None):
        return _mismatch(METHOD, "the body's method")
    member = NAMED_BY.get(request.method)
    named = request.params.get(member) if member else None
    if named is None and required:
        # Without a name in the body there is nothing to agree on; who reads the parameters refuses them.
        return None
    try:
        name = None if name is None else decoded(name)
    except BadHeader as error:
        return Rejection(400, HEADER_MISMATCH, str(error))
    if name != named and (required or name is not None):
        return _mismatch(NAME, f"params.{member or 'name'}")
    return None


def _routed(era: Era, version: str, request: Request, client: Any) -> Route | Rejection:
    eras, action = METHODS.get(request.method, (frozenset(), None))
    if action is None or era not in eras:
        return Rejection(status(era, METHOD_NOT_FOUND), METHOD_NOT_FOUND, f"Method not found: {request.method}")
    if action is Action.LIST and request.params.get("cursor") is not None:
        # There is one page, so none was ever handed out (server/utilities/pagination).
        return Rejection(status(era, INVALID_PARAMS), INVALID_PARAMS, "params.cursor is none that was handed out")
    return Route(era, version, action, _client(client))


def _unanswered(version: str | None, message: Notification | Response) -> Route | Rejection:
    """Route what wants no answer; of its headers only the version counts, the rest is undefined for it."""
    modern = version in MODERN_VERSIONS
    if version is not None and not modern and version not in _LEGACY_HEADERS:
        return _unsupported(version)
    if isinstance(message, Response) and modern:
        return Rejection(400, INVALID_REQUEST, "responses are not posted in this revision")
    if isinstance(message, Notification) and not message.method.startswith(NOTIFICATIONS):
        return Rejection(400, INVALID_REQUEST, f"{message.method} needs an id")
    return Route(Era.MODERN if modern else Era.LEGACY, version or UNNAMED_VERSION, Action.ACCEPT)


def _client(info: Any) -> Mapping[str, str]:
    if not isinstance(info, dict):
        return {}
    claims = ((key, info.get(key)) for key in ("name", "version"))
    return {key: claim[:128] for key, claim in claims if isinstance(claim, str)}


def _mismatch(header: str, body: str) -> Rejection:
    return Rejection(400, HEADER_MISMATCH, f"the {header} header does not match {body}")


def _unsupported(version: str) -> Rejection:
    data = {"supported": list(SUPPORTED_VERSIONS), "requested": version}
    return Rejection(400, UNSUPPORTED_VERSION, "Unsupported protocol version", data)
