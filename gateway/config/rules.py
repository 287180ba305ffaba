"""Rules that no single value can break: what refuses the configuration, and what is only warned about."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.addresses import is_loopback
from gateway.config.servers import SENSITIVE, is_own_header
from gateway.config.values import EVERY_TENANT, Secret
from gateway.model import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.config.document import Path
    from gateway.config.schema import Config, Oidc
    from gateway.config.servers import Server

MODE: Path = ("tool_access", "mode")


@dataclass(frozen=True, slots=True)
class Finding:
    """A broken rule: `path` is where it is said, `about` the other values that it was judged by."""

    path: Path
    message: str
    about: tuple[Path, ...] = ()


def refusals(config: Config) -> Iterator[Finding]:
    """Yield every rule that the configuration breaks."""
    rules: tuple[Callable[[Config], Iterator[Finding]], ...] = (
        _front_door, _oidc, _opa, _proxies, _tenants, _servers, _projection,
    )  # fmt: skip
    for rule in rules:
        yield from rule(config)


def _front_door(config: Config) -> Iterator[Finding]:
    if config.tool_access.mode is not Mode.FRONT_DOOR:
        return
    enabled, anonymous = ("auth", "enabled"), ("auth", "allow_anonymous")
    if not config.auth.enabled:
        yield Finding(enabled, "front_door needs authentication; set auth.enabled: true", (MODE,))
    if config.auth.allow_anonymous:
        yield Finding(anonymous, "front_door admits nobody without a credential; set it to false", (MODE,))


def _oidc(config: Config) -> Iterator[Finding]:
    oidc, at = config.auth.oidc, ("auth", "oidc")
    if not oidc.enabled:
        return
    enabled = (*at, "enabled")
    if oidc.issuer is None:
        yield Finding((*at, "issuer"), "is missing; auth.oidc needs the address of its issuer", (enabled,))
    if oidc.audience is None and oidc.resource_uri is None:
        message = "needs audience or resource_uri, so that a token for another service is refused"
        yield Finding(at, message, (enabled, (*at, "audience"), (*at, "resource_uri")))
    yield from _insecure(oidc, at)


def _insecure(oidc: Oidc, at: Path) -> Iterator[Finding]:
    for key, url in (("issuer", oidc.issuer), ("jwks_uri", oidc.jwks_uri)):
        if url and not oidc.allow_insecure_issuer and not _is_private(url):
            message = f"{url} is neither https nor loopback; use https, or set auth.oidc.allow_insecure_issuer: true"
            yield Finding((*at, key), message, ((*at, "allow_insecure_issuer"),))


def _opa(config: Config) -> Iterator[Finding]:
    if config.auth.opa.policy_path != "portcullis":
        yield Finding(("auth", "opa", "policy_path"), "must be portcullis, the root of the policy that is shipped")


def _proxies(config: Config) -> Iterator[Finding]:
    for index, network in enumerate(config.server.trusted_proxies):
        if network.prefixlen == 0:
            message = f"{network} trusts every address, and so anybody's X-Forwarded-For; name the proxies' networks"
            yield Finding(("server", "trusted_proxies", index), message)


def _tenants(config: Config) -> Iterator[Finding]:
    first: dict[str, int] = {}
    for index, tenant in enumerate(config.tenants):
        if first.setdefault(tenant.id, index) != index:
            yield Finding(("tenants", index, "id"), f"{tenant.id} is defined twice; keep one")


def _servers(config: Config) -> Iterator[Finding]:
    for id_, server in config.mcp_servers.items():
        yield from _headers(server, ("mcp_servers", id_, "headers"))


def _headers(server: Server, at: Path) -> Iterator[Finding]:
    count = Counter(name.lower() for name in server.headers)
    for name, value in server.headers.items():
        lower = name.lower()
        if is_own_header(name):
            yield Finding((*at, name), "is the gateway's own to set; remove it")
        elif count[lower] > 1:
            yield Finding((*at, name), "is there twice but for upper and lower case; keep one")
        elif not isinstance(value, Secret) and any(word in lower for word in SENSITIVE):
            yield Finding((*at, name), "holds a secret in the open; write ${env:NAME} or ${file:/run/secrets/name}")


def _projection(config: Config) -> Iterator[Finding]:
    at: Path = ("tool_projection",)
    lists = [(at, config.tool_projection.withdrawn)]
    for tenant, override in config.tool_projection.tenant_overrides.items():
        lists.append(((*at, "tenant_overrides", tenant), override.withdrawn))
    for where, ids in lists:
        for index, id_ in enumerate(ids):
            server = id_.partition("/")[0]
            if server not in config.mcp_servers:
                yield Finding(
                    (*where, "withdrawn", index), f"there is no server {server} in mcp_servers", (("mcp_servers",),)
                )


def _is_private(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or is_loopback(parts.hostname or "")


def known_tenants(config: Config) -> frozenset[str]:
    """Return the tenants that a member entry names or `tenants:` defines."""
    members = {tenant for server in config.mcp_servers.values() for tenant in server.tool_access.member}
    return frozenset(members - {EVERY_TENANT} | {tenant.id for tenant in config.tenants})


def exposed(config: Config) -> str | None:
    """Return why this must not be started without `--insecure`: no authentication on a host that others can reach."""
    if config.auth.enabled or is_loopback(config.server.host):
        return None
    host = config.server.host
    return f"auth.enabled is false and {host} is no loopback address: anybody could call; pass --insecure to mean it"
