"""What every answer carries, whatever it is: set at the end of most, and at the beginning of a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.endpoints.gate import INFO
from gateway.mcp.headers import SESSION

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from aiohttp import web

    from gateway.config import Config

# What a page may read of an answer.
EXPOSED = (
    f"WWW-Authenticate, X-Request-Id, Retry-After, {SESSION}, "
    "Portcullis-Revision, Portcullis-Applied, Portcullis-Matched, Portcullis-Still-Withdrawn, Portcullis-Still-Assigned"
)


def is_admitted(request: web.Request, config: Config) -> bool:
    """Say whether a page of an admitted origin asks (A59)."""
    return request.headers.get("Origin", "") in config.server.allowed_origins


def add_common_headers(headers: MutableMapping[str, str], request: web.Request, config: Config) -> None:
    """Add what every answer to a request carries; a stream needs it at its beginning."""
    if "Origin" in request.headers and is_admitted(request, config):
        headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
        headers["Access-Control-Expose-Headers"] = EXPOSED
        headers["Vary"] = "Origin"
    headers["X-Request-Id"] = request[INFO].id
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Server"] = "portcullis"  # instead of the versions of what it is made of
