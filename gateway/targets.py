"""What an admin may name, and what configuration itself withdraws: look-ups over config and inventory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from gateway.config import Membership
from gateway.config.membership import own_key, own_servers
from gateway.ids import Mode
from gateway.lifecycle import Targets

if TYPE_CHECKING:
    from gateway.config import Config
    from gateway.ids import Ref
    from gateway.inventory import Inventory


# The withdrawals of a configuration by canonical id (docs/policy.md, `withdrawn`).
Overlay = Callable[["Config"], Mapping[str, Any]]
# What says of a configuration whether its lists let something through to a tenant.
Reach = Callable[["Config"], Callable[[str, "Ref"], bool]]


def targets(config: Config, inventory: Inventory, overlay: Overlay, reach: Reach) -> Targets:
    """Return the look-ups that the admin actions need; `overlay` reads the withdrawals of a configuration."""

    def withdrawn(ref: Ref, tenant: str | None) -> bool:
        found = overlay(config)
        narrower = [ids for whose, ids in found["tenant"].items() if tenant in (None, whose)]
        return any(str(ref) in ids for ids in (found["global"], *narrower))

    membership = Membership(config)
    owners = {own_key(tenant.id, id_): tenant.id for tenant, id_, _ in own_servers(config)}

    def is_member(tenant: str, server: str) -> bool:
        if server in owners:
            return owners[server] == tenant
        everybody = config.tool_access.mode is Mode.EGRESS
        return server in (config.mcp_servers if everybody else membership.offered(tenant))

    return Targets(
        has_server=lambda server: server in config.mcp_servers or server in owners,
        is_member=is_member,
        is_offered=reach(config),
        has_tenant=membership.known.__contains__,
        is_listed=inventory.knows,
        withdrawn_by_config=withdrawn,
    )
