"""What is read from the head of a request."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from gateway import audit
from gateway.authn.proxies import client_address
from gateway.model import RequestInfo

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.config import Config


@lru_cache(maxsize=256)
def is_json(content_type: str) -> bool:
    """Say whether this is JSON's media type, with whatever parameters."""
    return content_type.partition(";")[0].strip(" \t").lower() == "application/json"


def host_of(request: web.Request) -> str:
    """Return the Host header without its port, lower-case."""
    host = request.headers.get("Host", "").lower()
    return host if host.endswith("]") else host.rpartition(":")[0] or host


def request_info(request: web.Request, config: Config) -> RequestInfo:
    """Return the facts the gateway vouches for: its own request id, the client's address, the time."""
    address = client_address(
        request.remote or "", request.headers.getall("X-Forwarded-For", []), config.server.trusted_proxies
    )
    now_ms = audit.now_ms()
    return RequestInfo(id=audit.uuid7(now_ms), ip=address, time=now_ms // 1000)
