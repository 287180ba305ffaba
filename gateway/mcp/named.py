"""Methods that ask one named thing to do something: what they have in common, and what differs, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.ids import Kind
from gateway.mcp.envelope import META_LOG_LEVEL
from gateway.mcp.eras import Era
from gateway.mcp.errors import INVALID_PARAMS, RESOURCE_NOT_FOUND, Rejection
from gateway.mcp.levels import is_level

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.mcp.envelope import Request
    from gateway.mcp.headers import HeaderLines


@dataclass(frozen=True, slots=True)
class Named:
    """How one method names its thing: `member` of the parameters; `event` is the type in the audit trail.

    `unknown` is what is said of a thing that is not there, in front of its name, and `code` the error that says so to
    agents before 2026-07-28.
    """

    member: str
    event: str
    unknown: str
    code: int = INVALID_PARAMS
    has_arguments: bool = True


NAMED: Mapping[str, Named] = {
    "tools/call": Named("name", "ToolCalled", "Unknown tool: "),
    "prompts/get": Named("name", "PromptFetched", "Unknown prompt: "),
    "resources/read": Named("uri", "ResourceRead", "Resource not found: ", RESOURCE_NOT_FOUND, has_arguments=False),
    "resources/subscribe": Named(
        "uri", "ResourceSubscribed", "Resource not found: ", RESOURCE_NOT_FOUND, has_arguments=False
    ),
    "completion/complete": Named("ref", "ArgumentCompleted", "Unknown reference: ", has_arguments=False),
}
# What a completion may be of, by the type of its reference: the kind, and the member that names it.
REFERENCES: Mapping[str, tuple[Kind, str]] = {
    "ref/prompt": (Kind.PROMPT, "name"),
    "ref/resource": (Kind.RESOURCE, "uri"),
}


# A struct, because each call has one.
class Asked(msgspec.Struct, frozen=True):
    """What a request asks of one named thing; `arguments` None where the member is missing.

    `completion` are the members of what is completed, of one `kind` or another; its arguments are those that it holds.
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
    kind: Kind | None = None
    completion: Mapping[str, Any] | None = None

    @property
    def token(self) -> str | int | None:
        """The token under which the agent wants to hear of progress; None where there is none that may be one."""
        token = self.meta.get("progressToken")
        return token if isinstance(token, str | int) and not isinstance(token, bool) else None


def asked(request: Request, era: Era, lines: HeaderLines | None = None) -> Asked | Rejection:
    """Return what a request of one of these methods asks, or -32602."""
    params, named = request.params, NAMED[request.method]
    completes = request.method == "completion/complete"
    fault = _fault_of_completion(params) if completes else _fault_of_name(params, named)
    fault = fault or _fault(request, era)
    if fault is not None:
        return Rejection(400, INVALID_PARAMS, fault, id=request.id)
    if completes:
        return _completion(request)
    arguments = params.get("arguments") if named.has_arguments else None
    more = (params.get("inputResponses"), params.get("requestState"), lines) if era is Era.MODERN else ()
    return Asked(request.id, request.method, params[named.member], arguments, request.meta, *more)


def _completion(request: Request) -> Asked:
    params = request.params
    kind, member = REFERENCES[params["ref"]["type"]]
    members = {name: params[name] for name in ("argument", "context") if name in params}
    held = {**params.get("context", {}).get("arguments", {}), params["argument"]["name"]: params["argument"]["value"]}
    ref = params["ref"][member]
    return Asked(request.id, request.method, ref, held, request.meta, kind=kind, completion=members)


def reference(kind: Kind, name: str) -> dict[str, str]:
    """Return what a completion is of, as a server is told it."""
    return next({"type": type_, member: name} for type_, (of, member) in REFERENCES.items() if of is kind)


def _fault_of_name(params: Mapping[str, Any], named: Named) -> str | None:
    if not isinstance(params.get(named.member), str):
        return f"params.{named.member} must be a string"
    if named.has_arguments and not isinstance(params.get("arguments", {}), dict):
        return "params.arguments must be an object"
    return None


def _fault_of_completion(params: Mapping[str, Any]) -> str | None:
    ref, argument, context = params.get("ref"), params.get("argument"), params.get("context", {})
    if not isinstance(ref, dict) or not isinstance(type_ := ref.get("type"), str) or type_ not in REFERENCES:
        return f"params.ref.type must be one of {', '.join(REFERENCES)}"
    if not isinstance(ref.get(REFERENCES[type_][1]), str):
        return f"params.ref.{REFERENCES[type_][1]} must be a string"
    texts = (argument.get("name"), argument.get("value")) if isinstance(argument, dict) else (None,)
    if not all(isinstance(one, str) for one in texts):
        return "params.argument must have a name and a value, which are strings"
    if not isinstance(context, dict) or not isinstance(context.get("arguments", {}), dict):
        return "params.context.arguments must be an object"
    return None


def _fault(request: Request, era: Era) -> str | None:
    params = request.params
    if era is Era.LEGACY:
        return None
    if "inputResponses" in params and not isinstance(params["inputResponses"], dict):
        return "params.inputResponses must be an object"
    if "requestState" in params and not isinstance(params["requestState"], str):
        return "params.requestState must be a string"
    if META_LOG_LEVEL in request.meta and not is_level(request.meta[META_LOG_LEVEL]):
        return f"{META_LOG_LEVEL} is not a level"
    return None
