"""Which flat names one tenant misses, because more than one server that it is offered stands for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bundles.backing import Backings
from bundles.offers import Offers
from gateway.config import Membership
from gateway.config.membership import own_key
from gateway.ids import Mode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.config import Config
    from gateway.facts import ServerInventory


def collisions(config: Config, tenant: str, inventory: Iterable[ServerInventory]) -> dict[str, tuple[str, ...]]:
    """Return each contested name with the canonical ids that it may mean, as policy has it for this tenant."""
    listed = {one.server: one for one in inventory}
    mode, membership, backings = config.tool_access.mode, Membership(config), Backings()
    entries = membership.offered(tenant)
    if mode is Mode.EGRESS:
        entries = {id_: entries.get(id_, ()) for id_ in config.mcp_servers}
    shared = {id_: backings.get(id_, config.mcp_servers[id_], listed.get(id_), mode, None) for id_ in entries}
    own = tuple(
        backings.get(key := own_key(tenant, id_), server, listed.get(key), mode, tenant)
        for id_, server in sorted(membership.own(tenant).items())
    )
    contests = Offers(shared).part(entries, own).contests
    return {one.name: tuple(sorted(one.rivals.values())) for one in sorted(contests, key=lambda one: one.name)}
