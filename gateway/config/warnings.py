"""What is allowed and rarely meant; said at start, by `check` and by `doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.addresses import is_loopback
from gateway.config.document import dotted
from gateway.config.membership import Membership
from gateway.config.rules_auth import issuers_at
from gateway.config.warnings_tenants import tenant_warnings
from gateway.ids import Mode

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from gateway.config.schema import Config


def warnings(config: Config, suspended: Collection[str] = ()) -> Iterator[str]:
    """Yield every warning, each led by the path of the key that it is about.

    Of the tenants that are `suspended` for a mistake in their catalog, that is what has to be said.
    """
    members = Membership(config)
    yield from _auth(config)
    yield from _issuers(config, members)
    yield from _assignments(config)
    yield from _listener(config)
    yield from _members(config, members)
    yield from tenant_warnings(config, members, suspended)


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
    if (auth.oidc.issuer or auth.oidc.issuers) and not auth.oidc.enabled:
        yield "auth.oidc.enabled is false: the issuer's tokens are refused"


def _issuers(config: Config, members: Membership) -> Iterator[str]:
    for at, one in issuers_at(config.auth.oidc) if config.auth.oidc.enabled else ():
        for key, url in (("issuer", one.issuer), ("jwks_uri", one.jwks_uri)):
            parts = urlsplit(url or "")
            if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
                yield f"{dotted((*at, key))}: {url} is plain http: whoever sits between can forge tokens"
        if unknown := sorted(set(one.tenants) - members.known):
            yield f"{dotted((*at, 'tenants'))}: nothing else knows {', '.join(unknown)}"


def _assignments(config: Config) -> Iterator[str]:
    trusted = {one.issuer for one in config.auth.oidc.trusted}
    for index, one in enumerate(config.auth.role_assignments):
        if one.issuer and one.issuer not in trusted:
            yield f"auth.role_assignments[{index}].issuer: {one.issuer} is not trusted, so nobody has this role by it"


def _listener(config: Config) -> Iterator[str]:
    server = config.server
    if server.tls is None and not is_loopback(server.host):
        behind = "" if server.trusted_proxies else ", or name the proxy in front in server.trusted_proxies"
        yield f"server.host: plain http on {server.host}: credentials travel in the open; set server.tls{behind}"


def _members(config: Config, members: Membership) -> Iterator[str]:
    listed = {id_ for tenant in config.tenants if tenant.catalog for id_ in tenant.catalog.servers}
    for id_, server in config.mcp_servers.items():
        if config.tool_access.mode is Mode.FRONT_DOOR and not server.tool_access.member and id_ not in listed:
            yield f"mcp_servers.{id_}.tool_access.member: the server has no members, so no tenant sees it"
        for tenant in server.tool_projection.tenant_overrides:
            if tenant not in members.known:
                yield f"mcp_servers.{id_}.tool_projection.tenant_overrides: no member entry knows the tenant {tenant}"
    for tenant in config.tool_projection.tenant_overrides:
        if tenant not in members.known:
            yield f"tool_projection.tenant_overrides: no member entry knows the tenant {tenant}"
