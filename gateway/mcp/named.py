"""Methods that ask one named thing to do something: what they have in common, and what differs, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.mcp.envelope import META_LOG_LEVEL
from gateway.mcp.eras import Era
from gateway.mcp.errors import INVALID_PARAMS, Rejection
from gateway.mcp.levels import is_level

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.mcp.envelope import Request
    from gateway.mcp.headers import HeaderLines


@dataclass(frozen=True, slots=True)
class Named:
    """How one method names its thing: `member` of the parameters; `event` is the type in the audit trail.

    `unknown` is what is said of a thing that is not there, in front of its name.
    """

    member: str
    event: str
    unknown: str


NAMED: Mapping[str, Named] = {"tools/call": Named("name", "ToolCalled", "Unknown tool: ")}


# A struct, because each call has one.
class Asked(msgspec.Struct, frozen=True):
    """What a request asks of one named thing; `arguments` None where the member is missing.

    `responses` and `state` are what a request that is sent again brings along (2026-07-28, patterns/mrtr), `lines` the
    headers that may have to repeat arguments; None in the older era, which has none of them.
    """

    id: str | int
    method: str
    name: str
    arguments: Mapping[str, Any] | None
    meta: Mapping[str, Any]
    responses: Mapping[str, Any] | None = None
    state: str | None = None
    lines: HeaderLines | None = None

    @property
    def token(self) -> str | int | None:
        """The token under which the agent wants to hear of progress; None where there is none that may be one."""
        token = self.meta.get("progressToken")
        return token if isinstance(token, str | int) and not isinstance(token, bool) else None


def asked(request: Request, era: Era, lines: HeaderLines | None = None) -> Asked | Rejection:
    """Return what a request of one of these methods asks, or -32602."""
    params, named = request.params, NAMED[request.method]
    fault = _fault(request, named, era)
    if fault is not None:
        return Rejection(400, INVALID_PARAMS, fault, id=request.id)
    more = (params.get("inputResponses"), params.get("requestState"), lines) if era is Era.MODERN else ()
    return Asked(request.id, request.method, params[named.member], params.get("arguments"), request.meta, *more)


def _fault(request: Request, named: Named, era: Era) -> str | None:
    params = request.params
    if not isinstance(params.get(named.member), str):
        return f"params.{named.member} must be a string"
    if "arguments" in params and not isinstance(params["arguments"], dict):
        return "params.arguments must be an object"
    if era is Era.LEGACY:
        return None
    if "inputResponses" in params and not isinstance(params["inputResponses"], dict):
        return "params.inputResponses must be an object"
    if "requestState" in params and not isinstance(params["requestState"], str):
        return "params.requestState must be a string"
    if META_LOG_LEVEL in request.meta and not is_level(request.meta[META_LOG_LEVEL]):
        return f"{META_LOG_LEVEL} is not a level"
    return None
