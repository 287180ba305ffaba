"""One table from errors to HTTP statuses, and RFC 9457 problems made of it; no room below knows a status."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from gateway import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.errors import GatewayError

CONTENT_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Problem:
    """What a caller learns of an error: never more than the words of the documentation."""

    status: int
    title: str
    detail: str | None = None  # None: the error's own text is fit for the caller


PROBLEMS: Mapping[type[GatewayError], Problem] = {
    errors.CredentialRequired: Problem(401, "Unauthorized", "No valid credentials provided"),
    errors.InvalidCredential: Problem(401, "Unauthorized", "No valid credentials provided"),
    errors.AmbiguousCredential: Problem(400, "Bad Request", "Present exactly one credential, in a header"),
    errors.KeysUnavailable: Problem(503, "Service Unavailable", "The issuer's signing keys are not available"),
    errors.LedgerStale: Problem(503, "Service Unavailable", "Keys and tokens cannot be checked at the moment"),
    errors.TooManyRequests: Problem(429, "Too Many Requests"),
    errors.Crowded: Problem(503, "Service Unavailable"),
    errors.TenantMismatch: Problem(403, "Forbidden", "Access denied: the tenant is not the credential's"),
    errors.NotPermitted: Problem(403, "Forbidden", "Access denied: insufficient permissions"),
    errors.NotVisible: Problem(404, "Not Found", "No such thing"),
    errors.DecisionUnavailable: Problem(503, "Service Unavailable", "No policy decision is available"),
    errors.UpstreamFailed: Problem(502, "Bad Gateway"),
    errors.UnknownSession: Problem(404, "Not Found", "No such session"),
    errors.TooManyStreams: Problem(429, "Too Many Requests"),
    errors.NotFound: Problem(404, "Not Found"),
    errors.InvalidBody: Problem(400, "Bad Request"),
    errors.LastAdmin: Problem(409, "Conflict"),
    errors.OutcomeUnknown: Problem(
        503, "Service Unavailable", "The ledger was lost in the middle of the change; look whether it was made"
    ),
    errors.Unavailable: Problem(503, "Service Unavailable", "The ledger is not available; nothing was changed"),
    # Whatever no handler should let through: a defect, of which its text may say more than a stranger should read.
    errors.GatewayError: Problem(500, "Internal Server Error", "The request failed"),
}
API_KEY_DETAIL = "Invalid API key"
RETRY_AFTER = "5"


def problem_of(error: GatewayError) -> Problem:
    """Return the row of the nearest class that has one."""
    return next(PROBLEMS[kind] for kind in type(error).__mro__ if kind in PROBLEMS)


def render(
    status: int, title: str, detail: str, request_id: str, headers: Mapping[str, str] | None = None, **members: Any
) -> web.Response:
    """Return a problem document (RFC 9457); `members` are extension members."""
    document = {"type": "about:blank", "title": title, "status": status, "detail": detail, "instance": request_id}
    return web.Response(
        status=status, body=orjson.dumps(document | members), headers=headers, content_type=CONTENT_TYPE
    )


def response_to(error: GatewayError, request_id: str, challenge: str) -> web.Response:
    """Return the answer to an error. `challenge` is the WWW-Authenticate value of this endpoint."""
    problem = problem_of(error)
    detail = problem.detail or str(error)
    headers: dict[str, str] = {}
    members: dict[str, Any] = {}
    match error:
        case errors.InvalidCredential(kind="api_key"):
            detail = API_KEY_DETAIL
        case errors.CredentialUndecided() | errors.TooManyRequests() | errors.TooManyStreams():
            # Rounded up: whoever comes back a moment too early is refused once more.
            headers["Retry-After"] = str(math.ceil(error.retry_after))
        case errors.InvalidBody():
            members["errors"] = [{"field": name, "detail": why} for name, why in error.errors]
    if problem.status == 401:
        headers["WWW-Authenticate"] = challenge
    if problem.status == 503:
        headers.setdefault("Retry-After", RETRY_AFTER)
    return render(problem.status, problem.title, detail, request_id, headers, **members)
