"""What is allowed of tenants and rarely meant; one warning for many tenants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.ids import Mode

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from gateway.config.membership import Membership
    from gateway.config.schema import Config
    from gateway.config.tenants import Tenant

SHOWN = 5


def tenant_warnings(config: Config, members: Membership, suspended: Collection[str]) -> Iterator[str]:
    """Yield every warning about tenants."""
    judged = [tenant for tenant in config.tenants if tenant.id not in suspended]
    if config.tenants and (strangers := members.named - {tenant.id for tenant in config.tenants}):
        yield f"tool_access.member: {_several(strangers)} named by member entries and not among the tenants"
    if config.tool_access.mode is Mode.FRONT_DOOR and (bare := {one.id for one in judged if _is_bare(one, members)}):
        yield f"tenants: {_several(bare)} offered no server"
    if keyed := {one.id for one in judged if one.api_keys and not one.active}:
        yield f"tenants: {_several(keyed)} suspended, so with their keys nothing can be seen"
    limits = {id_: one.max_concurrent_requests for id_, one in config.mcp_servers.items()}
    if wide := {one.id for one in judged if any(limits.values()) and _is_wide(one, members, limits)}:
        yield f"tenants: {_several(wide)} allowed more requests at once than all their servers together take"


def several(ids: Collection[str]) -> str:
    """Return the first few of many names, and how many more there are."""
    first, more = sorted(ids)[:SHOWN], len(ids) - SHOWN
    return ", ".join(first) + (f" and {more} more" if more > 0 else "")


def _several(ids: Collection[str]) -> str:
    return f"{several(ids)} {'is' if len(ids) == 1 else 'are'}"


def _is_bare(tenant: Tenant, members: Membership) -> bool:
    catalog = tenant.catalog
    return tenant.active and not (members.configured(tenant.id) or (catalog and (catalog.servers or catalog.own)))


def _is_wide(tenant: Tenant, members: Membership, limits: Mapping[str, int | None]) -> bool:
    """Whether a tenant's limit can never be reached, because each of its servers has a lower one."""
    most = tenant.quotas.max_concurrent_requests
    if most is None or not tenant.active:
        return False
    found = [limits[id_] for id_ in members.offered(tenant.id)]
    found += [one.max_concurrent_requests for one in members.own(tenant.id).values()]
    known = [limit for limit in found if limit is not None]
    return bool(found) and len(known) == len(found) and sum(known) < most
