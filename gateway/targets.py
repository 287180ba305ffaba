"""What an admin may name, and what configuration itself withdraws: look-ups over config and inventory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from gateway.config import known_tenants
from gateway.lifecycle import Targets

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

    return Targets(
        has_server=config.mcp_servers.__contains__,
        has_tenant=frozenset(known_tenants(config)).__contains__,
        has_tool=lambda ref: ref.tool in inventory.names(ref.server),
        withdrawn_by_config=withdrawn,
    )
