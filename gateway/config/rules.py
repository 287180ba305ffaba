"""Rules that no single value can break: what refuses the configuration, and what is only warned about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.addresses import is_loopback
from gateway.config.findings import Finding
from gateway.config.membership import Membership
from gateway.config.rules_auth import auth_findings
from gateway.config.rules_servers import server_findings
from gateway.config.rules_tenants import TENANTS
from gateway.ids import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.config.document import Path
    from gateway.config.schema import Config

MODE: Path = ("tool_access", "mode")
TENANTS_FILE: Path = ("tenants_file",)


def refusals(config: Config) -> Iterator[Finding]:
    """Yield every rule that the configuration breaks."""
    rules: tuple[Callable[[Config], Iterator[Finding]], ...] = (
        _front_door, auth_findings, _opa, _proxies, _tenants, _servers, _projection,
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


def _opa(config: Config) -> Iterator[Finding]:
    if config.auth.opa.policy_path != "portcullis":
        yield Finding(("auth", "opa", "policy_path"), "must be portcullis, the root of the policy that is shipped")


def _proxies(config: Config) -> Iterator[Finding]:
    for index, network in enumerate(config.server.trusted_proxies):
        if network.prefixlen == 0:
            message = f"{network} trusts every address, and so anybody's X-Forwarded-For; name the proxies' networks"
            yield Finding(("server", "trusted_proxies", index), message)


def _tenants(config: Config) -> Iterator[Finding]:
    if config.tenants_file and config.tenants:
        yield Finding(TENANTS_FILE, "and tenants are both there; keep one", (TENANTS,))


def _servers(config: Config) -> Iterator[Finding]:
    for id_, server in config.mcp_servers.items():
        yield from server_findings(server, ("mcp_servers", id_))


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


def known_tenants(config: Config) -> frozenset[str]:
    """Return the tenants that a member entry names or that are defined."""
    return Membership(config).known


def global_admins(config: Config) -> int:
    """Return how many assignments of the configuration make somebody an admin everywhere."""
    auth = config.auth
    return sum(one.role in auth.admin_roles and one.scope == "global" for one in auth.role_assignments)


def exposed(config: Config) -> str | None:
    """Return why this must not be started without `--insecure`: no authentication on a host that others can reach."""
    if config.auth.enabled or is_loopback(config.server.host):
        return None
    host = config.server.host
    return f"auth.enabled is false and {host} is no loopback address: anybody could call; pass --insecure to mean it"
