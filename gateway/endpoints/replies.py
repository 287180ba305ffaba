"""What MCP's endpoint answers with: JSON-RPC under the statuses of the agent's era."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from gateway.endpoints.reply import Reply
from gateway.errors import (
    DecisionUnavailable,
    GatewayError,
    HeadersDisagree,
    NotPermitted,
    NotVisible,
    OverLimit,
    StateRefused,
    Unavailable,
    UpstreamFailed,
)
from gateway.mcp import results, sse
from gateway.mcp.eras import Era, status
from gateway.mcp.errors import HEADER_MISMATCH, INVALID_PARAMS, INVALID_REQUEST
from gateway.mcp.named import NAMED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.mcp.errors import Rejection
    from gateway.mcp.headers import Accepted

# Outside the range that JSON-RPC reserves (mcp 2026-07-28, basic/index): these are the gateway's own.
STREAM_ENDED = 40100
NOT_PERMITTED = 40300
CANCELLED = 49900
UPSTREAM_FAILED = 50200
DECISION_UNAVAILABLE = 50300
OVER_LIMIT = 42900
HEADERS = {"Cache-Control": "private, no-store"}
CODES: Mapping[type[GatewayError], int] = {
    NotVisible: INVALID_PARAMS,
    HeadersDisagree: HEADER_MISMATCH,
    StateRefused: INVALID_PARAMS,
    OverLimit: OVER_LIMIT,
    UpstreamFailed: UPSTREAM_FAILED,
    DecisionUnavailable: DECISION_UNAVAILABLE,
    Unavailable: DECISION_UNAVAILABLE,
}


def answer(*pieces: bytes, http_status: int = 200) -> Reply:
    """Return a JSON response; its text may come in pieces."""
    headers = HEADERS.copy() if http_status != 503 else HEADERS | {"Retry-After": "1"}
    return Reply(http_status, headers, *pieces)


def suited(reply: Reply, kinds: Accepted) -> Reply:
    """Return an answer that is no stream in the way that the agent likes best: as JSON, or as the one event of one."""
    if not kinds.events_first or reply.status != 200 or not reply.pieces:
        return reply
    return Reply(200, {**reply.headers, "Content-Type": sse.MEDIA_TYPE}, sse.written(b"".join(reply.pieces)))


def accepted() -> Reply:
    """Return the answer to what wants none."""
    return Reply(202, HEADERS.copy())


def failed(id_: Any, http_status: int, code: int, text: str) -> Reply:
    """Return a JSON-RPC error to a request."""
    return answer(results.error(id_, code, text), http_status=http_status)


def rejected(rejection: Rejection) -> Reply:
    """Return the answer to a message that failed a rung."""
    body = results.error(rejection.id, rejection.code, rejection.message, rejection.data)
    return answer(body, http_status=rejection.status)


def no_session(id_: Any) -> Reply:
    """Return the answer in whose stead an agent shakes hands again (2025-11-25, basic/transports)."""
    return failed(id_, 404, INVALID_REQUEST, "No such session")


def refused(error: GatewayError, id_: Any, method: str, name: str, era: Era) -> Reply:
    """Return what an agent is told of an error; raises those that are HTTP's to tell."""
    match error:
        case NotVisible():
            code = INVALID_PARAMS if era is Era.MODERN else NAMED[method].code
            data = {"uri": name} if NAMED[method].member == "uri" else None
            body = results.error(id_, code, NAMED[method].unknown + name, data)
            return answer(body, http_status=status(era, code))
        case NotPermitted() if method == "tools/call":
            return answer(results.tool_error(id_, era, denial(error)))
        case NotPermitted():
            return failed(id_, 200, NOT_PERMITTED, denial(error))
        case HeadersDisagree():
            return failed(id_, status(era, HEADER_MISMATCH), HEADER_MISMATCH, str(error))
        case StateRefused():
            text = "requestState is not what was handed out for this request"
            return failed(id_, status(era, INVALID_PARAMS), INVALID_PARAMS, text)
        case OverLimit():
            return over(id_, error)
        case UpstreamFailed():
            return failed(id_, 200, UPSTREAM_FAILED, f"Server {error.server}: {error.why}")
        case DecisionUnavailable() | Unavailable():
            text = "No policy decision is available; nothing was done"
            return failed(id_, 503, DECISION_UNAVAILABLE, text)
        case _:
            raise error


def code_of(error: BaseException) -> int | None:
    """Return the JSON-RPC code that `refused` answers an error with, None where the answer is none."""
    return next((code for kind, code in CODES.items() if isinstance(error, kind)), None)


def over(id_: Any, error: OverLimit) -> Reply:
    """Return what tells an agent when to come back, in its own protocol and in HTTP's."""
    data = {"limit": error.limit, "retryAfterMs": math.ceil(error.retry_after * 1000)}
    headers = HEADERS | {"Retry-After": str(math.ceil(error.retry_after))}
    return Reply(429, headers, results.error(id_, OVER_LIMIT, str(error), data))


def denial(error: NotPermitted) -> str:
    """Return what a model is told of a refusal: the codes, which its policy's author chose."""
    codes = ", ".join(reason.code for reason in error.reasons) or "policy"
    return f"Access denied: {codes}"
