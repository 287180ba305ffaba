"""OAuth protected resource metadata (RFC 9728), and the challenge that points to it.

Everything here is made from configuration, never from the Host header (A61).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web
from yarl import URL

from gateway.ids import SERVER_ID, TENANT_ID

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config import Config

WELL_KNOWN = "/.well-known/oauth-protected-resource"
# What is served of one tenant, each with a document of its own.
TENANT_PATHS = (
    "/tenant/{tenant}/mcp",
    "/tenant/{tenant}/servers/{server}/mcp",
    "/tenant/{tenant}/servers",
    "/tenant/{tenant}/metrics",
)
HEADERS = {"Cache-Control": "max-age=300", "Access-Control-Allow-Origin": "*"}


def resource_of(config: Config, path: str) -> str | None:
    """Return the resource URI of an endpoint path, or None without OIDC; "" is the gateway as a whole."""
    oidc = config.auth.oidc
    if not (config.auth.enabled and oidc.enabled and oidc.resource_uri):
        return None
    return _origin(oidc.resource_uri) + path if path else oidc.resource_uri


# Asked for with every request, and there is one a configuration.
@lru_cache(maxsize=8)
def _origin(uri: str) -> str:
    return str(URL(uri).origin())


def document(config: Config, path: str) -> dict[str, Any] | None:
    """Return the metadata of an endpoint path, or None where there is no OIDC."""
    resource = resource_of(config, path)
    if resource is None:
        return None
    found: dict[str, Any] = {
        "resource": resource,
        "authorization_servers": [one.issuer for one in config.auth.oidc.trusted],
        "bearer_methods_supported": ["header"],
        "resource_name": "Portcullis",
    }
    if config.auth.oidc.scopes:
        found["scopes_supported"] = list(config.auth.oidc.scopes)
    return found


def tenant_path(request: web.Request) -> str | None:
    """Return the endpoint below `/tenant` that a path is of; None where its tenant or server can be none."""
    tenant, server = request.match_info.get("tenant"), request.match_info.get("server", "-")
    if tenant is None or not TENANT_ID.fullmatch(tenant) or not SERVER_ID.fullmatch(server):
        return None
    return request.path.removeprefix(WELL_KNOWN)


def challenge(config: Config, path: str, *, token_sent: bool) -> str:
    """Return the WWW-Authenticate value of a 401 (RFC 6750 section 3, RFC 9728 section 5.1).

    It points to the document of the endpoint `path`, because a client takes no other's; "" is the gateway as a whole.
    """
    origin = resource_of(config, "/")
    schemes = []
    if origin is not None:
        parameters = [f'resource_metadata="{origin.rstrip("/")}{WELL_KNOWN}{path}"']
        if config.auth.oidc.scopes:
            parameters.append(f'scope="{" ".join(config.auth.oidc.scopes)}"')
        if token_sent:
            parameters.append('error="invalid_token"')
        schemes.append("Bearer " + ", ".join(parameters))
    if config.auth.api_key.enabled:
        schemes.append("ApiKey")
    return ", ".join(schemes)


@dataclass(frozen=True, slots=True)
class Discovery:
    """The metadata routes; unauthenticated, because a client without a token starts here."""

    config: Callable[[], Config]

    def routes(self) -> list[web.RouteDef]:
        """Return the root form and the path forms (RFC 9728 section 3.1)."""
        return [
            web.get(WELL_KNOWN, self.root),
            web.get(WELL_KNOWN + "/mcp", self.flat),
            *(web.get(WELL_KNOWN + path, self.tenant) for path in TENANT_PATHS),
        ]

    async def root(self, _request: web.Request) -> web.Response:
        """The document of the gateway as a whole."""
        return self._answer("")

    async def flat(self, _request: web.Request) -> web.Response:
        """The document of `/mcp`."""
        return self._answer("/mcp")

    async def tenant(self, request: web.Request) -> web.Response:
        """A tenant's document; it answers for any well-formed id, so it says nothing about which tenants exist."""
        path = tenant_path(request)
        if path is None:
            raise web.HTTPNotFound
        return self._answer(path)

    def _answer(self, path: str) -> web.Response:
        found = document(self.config(), path)
        if found is None:
            raise web.HTTPNotFound
        return web.Response(body=orjson.dumps(found), content_type="application/json", headers=HEADERS)
