"""JSON-RPC and MCP error codes, and the values that say a message was refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Mapping

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
HEADER_MISMATCH = -32020
MISSING_CLIENT_CAPABILITY = -32021
UNSUPPORTED_VERSION = -32022
# Retired by 2026-07-28, still sent by older servers.
RESOURCE_NOT_FOUND = -32002
URL_ELICITATION_REQUIRED = -32042

# 2026-07-28, streamable HTTP: the statuses it requires; -32602 has the status that the official SDK gives it.
MODERN_STATUS: Mapping[int, int] = {
    PARSE_ERROR: 400,
    INVALID_REQUEST: 400,
    METHOD_NOT_FOUND: 404,
    INVALID_PARAMS: 400,
    HEADER_MISMATCH: 400,
    MISSING_CLIENT_CAPABILITY: 400,
    UNSUPPORTED_VERSION: 400,
}


@dataclass(frozen=True, slots=True)
class Rejection:
    """A message that is refused before anybody is asked: HTTP status and JSON-RPC error; `id` None where unknown."""

    status: int
    code: int
    message: str
    data: Any = None
    id: str | int | None = None


class Malformed(GatewayError):
    """A body is not JSON as this gateway takes it; the text may be shown to whoever sent it."""

    code = PARSE_ERROR
