"""What agents are told of beside their requests: that a list has changed, or a resource, in the words of either era.

In the modern era an agent asks for it and is told under the id that it asked with (2026-07-28, patterns/subscriptions);
before, whoever listens to a session's stream is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.mcp import json
from gateway.mcp.envelope import META_SERVER_INFO, META_SUBSCRIPTION
from gateway.mcp.errors import INVALID_PARAMS, Rejection
from gateway.mcp.results import SERVER_INFO, success
from gateway.mcp.sections import CAPABILITIES

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from gateway.ids import Kind
    from gateway.mcp.envelope import Request

# Which notification says that a list of a kind has changed, and the other way round.
CHANGED: Mapping[Kind, str] = {kind: f"notifications/{name}/list_changed" for name, kind in CAPABILITIES.items()}
CHANGES: Mapping[str, Kind] = {method: kind for kind, method in CHANGED.items()}
UPDATED = "notifications/resources/updated"
# What can be asked for, by its name in the filter; everything else is left out of the acknowledgement.
HONOURED: Mapping[str, Kind] = {f"{name}ListChanged": kind for name, kind in CAPABILITIES.items()}
WATCHED = "resourceSubscriptions"


# How many resources one subscription, or session, can name: policy is asked for each of them.
MAX_WATCHED = 100


class Wanted(NamedTuple):
    """What a subscription asks for, of what can be had: changes of the lists of kinds, and of resources."""

    kinds: frozenset[Kind]
    uris: tuple[str, ...]


def wanted(request: Request) -> Wanted | Rejection:
    """Return what a subscription asks for, or -32602."""
    filter_ = request.params.get("notifications")
    if not isinstance(filter_, dict):
        return Rejection(400, INVALID_PARAMS, "params.notifications must be an object", id=request.id)
    if odd := [name for name in HONOURED if not isinstance(filter_.get(name, False), bool)]:
        return Rejection(400, INVALID_PARAMS, f"params.notifications.{odd[0]} must be true or false", id=request.id)
    uris = filter_.get(WATCHED, [])
    if not isinstance(uris, list) or not all(isinstance(uri, str) for uri in uris) or len(uris) > MAX_WATCHED:
        text = f"params.notifications.{WATCHED} must be a list of {MAX_WATCHED} URIs at most"
        return Rejection(400, INVALID_PARAMS, text, id=request.id)
    kinds = frozenset(kind for name, kind in HONOURED.items() if filter_.get(name))
    return Wanted(kinds, tuple(dict.fromkeys(uris)))


def covers(watched: str, uri: str) -> bool:
    """Whether whoever watches one resource hears of another: of itself, and of what lies under it."""
    return uri == watched or uri.startswith(watched if watched.endswith("/") else f"{watched}/")


def acknowledged(id_: str | int, kinds: Collection[Kind], uris: Sequence[str] = ()) -> bytes:
    """Return the first message of a subscription: what it gets."""
    filter_: dict[str, Any] = {name: True for name, kind in HONOURED.items() if kind in kinds}
    if uris:
        filter_[WATCHED] = uris
    params = {"_meta": {META_SUBSCRIPTION: id_}, "notifications": filter_}
    return json.encode({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": params})


def changed(kind: Kind, id_: str | int | None = None) -> bytes:
    """Return the notification that a list has changed; `id_` is the subscription's, None before there were any."""
    return _notification(CHANGED[kind], {}, id_)


def updated(uri: str, id_: str | int | None = None) -> bytes:
    """Return the notification that a resource has changed; `id_` as above."""
    return _notification(UPDATED, {"uri": uri}, id_)


def ended(id_: str | int) -> bytes:
    """Return the answer to a subscription that the gateway ends without blame."""
    meta = {META_SUBSCRIPTION: id_, META_SERVER_INFO: SERVER_INFO}
    return success(id_, json.encode({"resultType": "complete", "_meta": meta}))


def _notification(method: str, params: dict[str, Any], id_: str | int | None) -> bytes:
    if id_ is not None:
        params["_meta"] = {META_SUBSCRIPTION: id_}
    return json.encode({"jsonrpc": "2.0", "method": method} | ({"params": params} if params else {}))
