"""What is allowed and rarely meant; said at start, by `check` and by `doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.addresses import is_loopback
from gateway.config.rules import known_tenants
from gateway.model import Mode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.config.schema import Config


def warnings(config: Config) -> Iterator[str]:
    """Yield every warning, each led by the path of the key that it is about."""
    yield from _auth(config)
    yield from _issuer(config)
    yield from _listener(config)
    yield from _members(config)


def _auth(config: Config) -> Iterator[str]:
    auth = config.auth
    if not auth.opa.enabled:
        yield "auth.opa.enabled: false is ignored, because every decision is OPA's"
    if not auth.enabled:
        yield "auth.enabled is false: credentials are ignored, everybody is anonymous, the admin API is closed"
        if auth.oidc.enabled:
            yield "auth.oidc.enabled has no effect while auth.enabled is false"
    elif not (auth.oidc.enabled or auth.api_key.enabled or auth.allow_anonymous):
        yield "auth: neither oidc nor api_key is enabled, so nobody can be let in"
    if auth.oidc.issuer and not auth.oidc.enabled:
        yield "auth.oidc.enabled is false: the issuer's tokens are refused"


def _issuer(config: Config) -> Iterator[str]:
    oidc = config.auth.oidc
    for key, url in (("issuer", oidc.issuer), ("jwks_uri", oidc.jwks_uri)):
        parts = urlsplit(url or "")
        if oidc.enabled and parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            yield f"auth.oidc.{key}: {url} is plain http: whoever sits between can forge tokens"


def _listener(config: Config) -> Iterator[str]:
    server = config.server
    if server.tls is None and not is_loopback(server.host):
        behind = "" if server.trusted_proxies else ", or name the proxy in front in server.trusted_proxies"
        yield f"server.host: plain http on {server.host}: credentials travel in the open; set server.tls{behind}"


def _members(config: Config) -> Iterator[str]:
    known = known_tenants(config)
    for id_, server in config.mcp_servers.items():
        if config.tool_access.mode is Mode.FRONT_DOOR and not server.tool_access.member:
            yield f"mcp_servers.{id_}.tool_access.member: the server has no members, so no tenant sees it"
        for tenant in server.tool_projection.tenant_overrides:
            if tenant not in known:
                yield f"mcp_servers.{id_}.tool_projection.tenant_overrides: no member entry knows the tenant {tenant}"
    for tenant in config.tool_projection.tenant_overrides:
        if tenant not in known:
            yield f"tool_projection.tenant_overrides: no member entry knows the tenant {tenant}"
