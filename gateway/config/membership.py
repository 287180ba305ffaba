"""Which servers a tenant is offered, and by which entries: one answer for policy, quotas, routes and people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.config.values import EVERY_TENANT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.config.schema import Config
    from gateway.config.servers import MemberEntry, OwnServer
    from gateway.config.tenants import Offer, Tenant

SEPARATOR = ":"


def own_key(tenant: str, server: str) -> str:
    """Return the key under which a tenant's own server is known to the gateway; no shared server's id has a colon."""
    return f"{tenant}{SEPARATOR}{server}"


def split_key(key: str) -> tuple[str | None, str]:
    """Return whose server a key names, None for a shared one, and the id that its tenant calls it by."""
    tenant, _, server = key.rpartition(SEPARATOR)
    return tenant or None, server


class Membership:
    """Who is offered which shared server in front_door mode, worked out once for a configuration.

    A tenant is offered what config.yaml makes it a member of, by an entry of its own or by `*`, and what its catalog
    lists. Where both do, both sets of lists hold: a catalog never gives back what config.yaml takes away.
    """

    def __init__(self, config: Config) -> None:
        self._tenants = {tenant.id: tenant for tenant in config.tenants}
        self._everybody: dict[str, MemberEntry] = {}
        self._members: dict[str, dict[str, MemberEntry]] = {}
        for id_, server in config.mcp_servers.items():
            for tenant, entry in server.tool_access.member.items():
                if tenant == EVERY_TENANT:
                    self._everybody[id_] = entry
                else:
                    self._members.setdefault(tenant, {})[id_] = entry

    @property
    def named(self) -> frozenset[str]:
        """The tenants that a member entry names."""
        return frozenset(self._members)

    @property
    def known(self) -> frozenset[str]:
        """The tenants that a member entry names or that are defined."""
        return frozenset(self._members) | frozenset(self._tenants)

    def tenant(self, id_: str) -> Tenant | None:
        """Return the definition of a tenant, None for one that only a member entry names, or nothing."""
        return self._tenants.get(id_)

    def configured(self, tenant: str) -> Mapping[str, MemberEntry]:
        """Return the member entries that count for a known tenant, by server."""
        named = self._members.get(tenant)
        return {**self._everybody, **named} if named else self._everybody

    def offered(self, tenant: str) -> Mapping[str, tuple[MemberEntry | Offer, ...]]:
        """Return the shared servers that a tenant is offered, each with the entries that narrow it, in no order.

        An unknown tenant is offered nothing.
        """
        if tenant not in self._members and tenant not in self._tenants:
            return {}
        found: dict[str, tuple[MemberEntry | Offer, ...]] = {
            id_: (entry,) for id_, entry in self.configured(tenant).items()
        }
        defined = self._tenants.get(tenant)
        for id_, offer in defined.catalog.servers.items() if defined and defined.catalog else ():
            found[id_] = (*found.get(id_, ()), offer)
        return found

    def own(self, tenant: str) -> Mapping[str, OwnServer]:
        """Return the servers that a tenant brings along, by the id that it calls them by."""
        defined = self._tenants.get(tenant)
        return defined.catalog.own if defined and defined.catalog else {}


def own_servers(config: Config) -> Iterator[tuple[Tenant, str, OwnServer]]:
    """Yield every server that a tenant brings along, with its tenant and its id there."""
    for tenant in config.tenants:
        for id_, server in tenant.catalog.own.items() if tenant.catalog else ():
            yield tenant, id_, server
