"""What agents are told of beside their requests: that a list has changed, in the words of either era.

In the modern era an agent asks for it and is told under the id that it asked with (2026-07-28, patterns/subscriptions);
before, whoever listens to a session's stream is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.mcp import json
from gateway.mcp.envelope import META_SERVER_INFO, META_SUBSCRIPTION
from gateway.mcp.errors import INVALID_PARAMS, Rejection
from gateway.mcp.results import SERVER_INFO, success

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.mcp.envelope import Request

TOOLS_CHANGED = "notifications/tools/list_changed"
# What can be asked for, by its name in the filter; everything else is left out of the acknowledgement.
HONOURED: Mapping[str, str] = {"toolsListChanged": TOOLS_CHANGED}


def honoured(request: Request) -> dict[str, bool] | Rejection:
    """Return the part of what a subscription asks for that it gets, or -32602."""
    wanted = request.params.get("notifications")
    if not isinstance(wanted, dict):
        return Rejection(400, INVALID_PARAMS, "params.notifications must be an object", id=request.id)
    if odd := [name for name in HONOURED if not isinstance(wanted.get(name, False), bool)]:
        return Rejection(400, INVALID_PARAMS, f"params.notifications.{odd[0]} must be true or false", id=request.id)
    return {name: True for name in HONOURED if wanted.get(name)}


def acknowledged(id_: str | int, filter_: Mapping[str, bool]) -> bytes:
    """Return the first message of a subscription: what it gets."""
    params = {"_meta": {META_SUBSCRIPTION: id_}, "notifications": filter_}
    return json.encode({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": params})


def changed(method: str, id_: str | int | None = None) -> bytes:
    """Return the notification that a list has changed; `id_` is the subscription's, None before there were any."""
    if id_ is None:
        return json.encode({"jsonrpc": "2.0", "method": method})
    return json.encode({"jsonrpc": "2.0", "method": method, "params": {"_meta": {META_SUBSCRIPTION: id_}}})


def ended(id_: str | int) -> bytes:
    """Return the answer to a subscription that the gateway ends without blame."""
    meta = {META_SUBSCRIPTION: id_, META_SERVER_INFO: SERVER_INFO}
    return success(id_, json.encode({"resultType": "complete", "_meta": meta}))
