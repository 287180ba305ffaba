"""What the configuration in force says of its tenants, worked out when somebody asks."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from gateway.config import Membership
from gateway.config.membership import own_key
from gateway.ids import Mode
from gateway.tenancy import Directory, OfferedServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Mapping, Sequence

    from gateway.config import Config
    from gateway.config.servers import Backend
    from gateway.facts import ServerInventory
    from gateway.inventory import Inventory
    from gateway.known import Listing

# The contested names of one tenant of a configuration, with their ids, by what the servers offer.
Collisions = Callable[["Config", str, "Iterable[ServerInventory]"], "Mapping[str, Sequence[str]]"]


def directory(
    config: Config,
    inventory: Inventory,
    listed: Callable[[], Awaitable[Iterable[ServerInventory]]],
    collisions: Collisions,
) -> Directory:
    """Return the look-ups; `listed` returns what the servers offer, as the ledger has it."""

    @cache
    def membership() -> Membership:
        return Membership(config)

    def servers(tenant: str) -> list[OfferedServer]:
        listings = inventory.listings
        shared = config.mcp_servers if config.tool_access.mode is Mode.EGRESS else membership().offered(tenant)
        found: list[tuple[str, str, Backend]] = [(id_, id_, config.mcp_servers[id_]) for id_ in shared]
        own: list[tuple[str, str, Backend]] = [
            (id_, own_key(tenant, id_), server) for id_, server in membership().own(tenant).items()
        ]
        offered = (
            OfferedServer(id_, server.mode, server.description or "", health(listings.get(key)))
            for id_, key, server in (*found, *own)
        )
        return sorted(offered, key=lambda one: one.id)

    async def contested(tenant: str) -> Mapping[str, Sequence[str]]:
        return collisions(config, tenant, await listed())

    return Directory(servers, contested)


def health(listing: Listing | None) -> str:
    """Return how a server was when it was last listed: `healthy`, `unhealthy`, or `unknown` where it never was."""
    if listing is None:
        return "unknown"
    return "healthy" if listing.failure is None else "unhealthy"
