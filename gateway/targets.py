"""What an admin may name, and what configuration itself withdraws: look-ups over config and inventory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from gateway.config import known_tenants
from gateway.config.values import EVERY_TENANT
from gateway.lifecycle import Targets
from gateway.model import Mode

if TYPE_CHECKING:
    from gateway.config import Config
    from gateway.inventory import Inventory
    from gateway.model import ToolRef


# The withdrawals of a configuration by canonical id, given what each server offers (docs/policy.md, `withdrawn`).
Overlay = Callable[["Config", Callable[[str], Iterable[str]]], Mapping[str, Any]]


def targets(
    config: Config,
    inventory: Inventory,
    overlay: Overlay,
) -> Targets:
    """Return the look-ups that the admin actions need; `overlay` expands the withdrawals of a configuration."""

    def withdrawn(ref: ToolRef, tenant: str | None) -> bool:
        found = overlay(config, inventory.names)
        narrower = [ids for whose, ids in found["tenant"].items() if tenant in (None, whose)]
        return any(str(ref) in ids for ids in (found["global"], *narrower))

    tenants = frozenset(known_tenants(config))

    def is_member(tenant: str, server: str) -> bool:
        found = config.mcp_servers.get(server)
        if found is None or config.tool_access.mode is Mode.EGRESS:
            return found is not None
        members = found.tool_access.member
        return tenant in members or (EVERY_TENANT in members and tenant in tenants)

    return Targets(
        has_server=config.mcp_servers.__contains__,
        is_member=is_member,
        has_tenant=tenants.__contains__,
        has_tool=lambda ref: ref.tool in inventory.names(ref.server),
        withdrawn_by_config=withdrawn,
    )
