"""Config and inventory become `portcullis_data`: globs turn into canonical ids, operands are interned.

Operands are interned, results are not: once each tenant has lists of its own, final sets are ten times the size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bundles.catalog import Catalog, Ids, Interned
from bundles.overlay import config_withdrawals
from gateway.config import known_tenants
from gateway.config.values import EVERY_TENANT
from gateway.model import Mode, flat_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.config import Config
    from gateway.config.servers import Server
    from gateway.facts import ServerInventory


@dataclass(frozen=True, slots=True)
class Collision:
    """A flat name that more than one offered tool has, so it is offered by none; `tenants` counts who misses it."""

    name: str
    ids: tuple[str, ...]
    tenants: int


@dataclass(frozen=True, slots=True)
class Expansion:
    """`data` is the document `portcullis_data`; the rest is for operators.

    `unprojected` are upstream names that no agent can be shown, each as server/tool.
    """

    data: Mapping[str, Any]
    collisions: tuple[Collision, ...]
    unprojected: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Share:
    """What one server is to one tenant; `allow` and `deny` are None where its member entry has no such list."""

    catalog: Catalog
    offered: int
    allow: int | None
    deny: int | None


class Expander:
    """Expands again and again; a server whose inventory did not change keeps its matched patterns."""

    def __init__(self) -> None:
        self._catalogs: dict[str, tuple[tuple[Mode, str], Catalog]] = {}

    def expand(self, config: Config, config_hash: str, inventory: Sequence[ServerInventory]) -> Expansion:
        """Return the tenants' document for this config and inventory; servers not configured are left out."""
        catalogs = self._refresh(config, inventory)
        offered = {id_: _offered(server, catalogs[id_]) for id_, server in config.mcp_servers.items()}
        offers, operands = Interned(), Interned()
        tenants = _tenants(config, catalogs, offered, offers, operands)
        everyone = [(catalogs[id_], mask) for id_, mask in sorted(offered.items())]
        egress = config.tool_access.mode is Mode.EGRESS
        everyones = {"offer": offers.put(everyone)} if egress else {}
        flat = _flat(config.tool_access.mode, everyone)
        data: dict[str, Any] = {
            "mode": config.tool_access.mode.value,
            "config": config_hash,
            "settings": _settings(config),
            "flat": flat,
            "contested": {id_: name for name, ids in flat.items() if len(ids) > 1 for id_ in ids},
            "offers": offers.sets,
            "sets": operands.sets,
            "servers": {server: {} for server in config.mcp_servers},
            "server_ids": {catalog.server: dict.fromkeys(catalog.ids(mask), True) for catalog, mask in everyone},
            "everyone": everyones,
            "tenants": tenants,
            "withdrawn": config_withdrawals(config, catalogs),
            "rbac": {"roles": _roles(config), "bindings": _bindings(config)},
        }
        return Expansion(
            data=data,
            collisions=_collisions(flat, offers.sets, tenants, everyones),
            unprojected=tuple(name for id_ in sorted(catalogs) for name in catalogs[id_].unprojected),
        )

    def _refresh(self, config: Config, inventory: Sequence[ServerInventory]) -> dict[str, Catalog]:
        mode = config.tool_access.mode
        listed = {known.server: known for known in inventory}
        fresh: dict[str, tuple[tuple[Mode, str], Catalog]] = {}
        for id_ in config.mcp_servers:
            known = listed.get(id_)
            names = known.tools if known else ()
            key = (mode, "\n".join(names))
            kept = self._catalogs.get(id_)
            fresh[id_] = kept if kept and kept[0] == key else (key, Catalog(id_, names, mode))
        self._catalogs = fresh
        return {id_: catalog for id_, (_, catalog) in fresh.items()}


def _offered(server: Server, catalog: Catalog) -> int:
    return catalog.allowed(server.tools.allow_list) & ~catalog.hits(server.tools.deny_list)


def _settings(config: Config) -> dict[str, Any]:
    return {
        "on_stale": config.opa.on_stale,
        "max_staleness_seconds": config.opa.max_staleness_seconds,
        "default_role": config.auth.default_role,
        "anonymous": not config.auth.enabled or config.auth.allow_anonymous,
    }


def _tenants(
    config: Config, catalogs: Mapping[str, Catalog], offered: Mapping[str, int], offers: Interned, operands: Interned
) -> dict[str, dict[str, Any]]:
    inactive = {tenant.id for tenant in config.tenants if not tenant.active}
    servers = [(server, catalogs[id_], offered[id_]) for id_, server in sorted(config.mcp_servers.items())]
    anybody = [_share(server, catalog, mask, EVERY_TENANT) for server, catalog, mask in servers]
    tenants = {}
    for tenant in sorted(known_tenants(config)):
        shares = []
        for (server, catalog, mask), default in zip(servers, anybody, strict=True):
            own = tenant in server.tool_access.member
            share = _share(server, catalog, mask, tenant) if own else default
            if share:
                shares.append(share)
        tenants[tenant] = _tenant(tenant not in inactive, shares, offers, operands)
    return tenants


def _share(server: Server, catalog: Catalog, offered: int, tenant: str) -> _Share | None:
    entry = server.tool_access.member.get(tenant)
    if entry is None:
        return None
    allow = catalog.hits(entry.allow_list) & offered if entry.allow_list else None
    deny = catalog.hits(entry.deny_list) & offered if entry.deny_list else None
    return _Share(catalog, offered, allow, deny)


def _tenant(active: bool, shares: Sequence[_Share], offers: Interned, operands: Interned) -> dict[str, Any]:
    document: dict[str, Any] = {"active": active, "offer": offers.put([(s.catalog, s.offered) for s in shares])}
    if any(share.allow is not None for share in shares):
        # Where one server's entry has an allow list and another's has none, the other's tools are all admitted.
        admitted = [(s.catalog, s.offered if s.allow is None else s.allow) for s in shares]
        document["allow"] = operands.put(admitted)
    if any(share.deny is not None for share in shares):
        document["deny"] = operands.put([(s.catalog, s.deny or 0) for s in shares])
    return document


def _flat(mode: Mode, everyone: Sequence[tuple[Catalog, int]]) -> dict[str, Ids]:
    flat: dict[str, Ids] = {}
    for catalog, mask in everyone:
        for id_ in catalog.ids(mask):
            flat.setdefault(flat_name(catalog.server, id_.partition("/")[2], mode), {})[id_] = True
    return flat


def _collisions(
    flat: Mapping[str, Ids],
    offers: Mapping[str, Ids],
    tenants: Mapping[str, Mapping[str, Any]],
    everyone: Mapping[str, str],
) -> tuple[Collision, ...]:
    """Return the names that some offer holds twice; in egress the offer to everybody counts as nobody's tenant."""
    shared = {name: ids for name, ids in flat.items() if len(ids) > 1}
    holders: dict[str, int] = dict.fromkeys(everyone.values(), 0)
    for tenant in tenants.values() if shared else ():
        holders[tenant["offer"]] = holders.get(tenant["offer"], 0) + 1
    found: dict[str, tuple[set[str], int]] = {}
    for name, ids in shared.items():
        for offer, count in holders.items():
            clashing = ids.keys() & offers[offer].keys()
            if len(clashing) > 1:
                before, missed = found.get(name, (set(), 0))
                found[name] = (before | clashing, missed + count)
    return tuple(Collision(name, tuple(sorted(ids)), missed) for name, (ids, missed) in sorted(found.items()))


def _roles(config: Config) -> dict[str, Ids]:
    return {role: dict.fromkeys(grants, True) for role, grants in config.auth.every_role.items()}


def _bindings(config: Config) -> dict[str, dict[str, dict[str, Any]]]:
    bindings: dict[str, dict[str, dict[str, Any]]] = {}
    for assigned in config.auth.role_assignments:
        issuer = {"issuer": assigned.issuer} if assigned.issuer else {}
        bindings.setdefault(assigned.principal, {}).setdefault(assigned.scope, {})[assigned.role] = issuer
    return bindings
