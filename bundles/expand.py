"""Config and inventory become `portcullis_data`: globs turn into canonical ids, operands are interned.

Operands are interned, results are not: once each tenant has lists of its own, final sets are ten times the size.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bundles.backing import Backings, flat_document
from bundles.catalog import SECTIONS
from bundles.offers import Offers, Part
from bundles.overlay import config_withdrawals
from bundles.roles import bindings, roles
from gateway.config import Membership
from gateway.config.membership import own_key
from gateway.ids import Mode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bundles.backing import Backing
    from gateway.config import Config
    from gateway.config.servers import MemberEntry
    from gateway.config.tenants import Tenant
    from gateway.facts import ServerInventory

CONFIG_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Collision:
    """A flat name that more than one offered server has, so it is offered by none; `tenants` counts who misses it."""

    name: str
    ids: tuple[str, ...]
    tenants: int


@dataclass(frozen=True, slots=True)
class Expansion:
    """`data` is the document `portcullis_data`; the rest is for operators.

    `unprojected` are ids of what servers have and no agent can be shown.
    """

    data: Mapping[str, Any]
    collisions: tuple[Collision, ...]
    unprojected: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Known:
    """What a tenant's part was made of."""

    defined: Tenant | None
    configured: Mapping[str, MemberEntry]
    own: tuple[Backing, ...]
    part: Part


class Expander:
    """Expands again and again; what did not change since the last time is not worked out anew."""

    def __init__(self) -> None:
        self._backings = Backings()
        self._offers: Offers | None = None
        self._mode: Mode | None = None
        self._known: dict[str, _Known] = {}
        self._alike: dict[tuple[int, int], Part] = {}

    def expand(self, config: Config, config_hash: str, inventory: Iterable[ServerInventory]) -> Expansion:
        """Return the tenants' document for this config and inventory; servers not configured are left out."""
        listed = {one.server: one for one in inventory}
        mode = config.tool_access.mode
        self._backings.begin()
        offers = self._refresh(
            {
                id_: self._backings.get(id_, server, listed.get(id_), mode, None)
                for id_, server in config.mcp_servers.items()
            },
            mode,
        )
        membership = Membership(config)
        # By the identity of what made them, so only for as long as this configuration is held.
        self._alike = {}
        tenants = sorted(membership.known)
        self._known = {tenant: self._tenant(membership, tenant, offers, listed, mode) for tenant in tenants}
        parts = {tenant: known.part for tenant, known in self._known.items()}
        everyone = offers.part(dict.fromkeys(offers.shared, ())) if mode is Mode.EGRESS else None
        own = [backing for known in self._known.values() for backing in known.own]
        return Expansion(
            data=_document(config, config_hash, membership, offers, parts, everyone, own),
            collisions=_collisions(parts.values(), everyone),
            unprojected=tuple(
                id_
                for backing in sorted((*offers.shared.values(), *own), key=lambda one: one.key)
                for kind in SECTIONS
                for id_ in backing.names[kind].unprojected
            ),
        )

    def _refresh(self, shared: dict[str, Backing], mode: Mode) -> Offers:
        """Begin anew with what tenants are offered where any shared server is not what it was."""
        if self._offers is None or self._mode is not mode or self._offers.shared != shared:
            self._offers, self._mode = Offers(shared), mode
            self._known = {}
        return self._offers

    def _tenant(
        self,
        membership: Membership,
        tenant: str,
        offers: Offers,
        listed: Mapping[str, ServerInventory],
        mode: Mode,
    ) -> _Known:
        defined, configured = membership.tenant(tenant), membership.configured(tenant)
        own = tuple(
            self._backings.get(key := own_key(tenant, id_), server, listed.get(key), mode, tenant)
            for id_, server in sorted(membership.own(tenant).items())
        )
        known = self._known.get(tenant)
        if known and known.own == own and known.configured == configured and _same(known.defined, defined):
            return known
        alike = id(configured), id(defined and defined.catalog)
        part = self._alike.get(alike)
        if part is None or own:
            entries = membership.offered(tenant)
            if mode is Mode.EGRESS:
                entries = {id_: entries.get(id_, ()) for id_ in offers.shared}
            part = offers.part(entries, own)
            if not own:
                self._alike[alike] = part
        return _Known(defined, configured, own, part)


def _same(one: Tenant | None, other: Tenant | None) -> bool:
    return one is other or one == other


def _document(
    config: Config,
    config_hash: str,
    membership: Membership,
    offers: Offers,
    parts: Mapping[str, Part],
    everyone: Part | None,
    own: Sequence[Backing],
) -> dict[str, Any]:
    every = [*parts.values(), *([everyone] if everyone else [])]
    servers = [*offers.shared.values(), *own]
    subjects, groups = bindings(
        (one.principal, one.role, one.scope, one.issuer, True) for one in config.auth.role_assignments
    )
    return {
        "mode": config.tool_access.mode.value,
        "config": config_hash[:CONFIG_DIGITS],
        "settings": _settings(config),
        "flat": flat_document(offers.homes),
        "contested": offers.contested,
        "offers": _merged(part.offers for part in every),
        "sets": _merged(part.sets for part in every),
        "patterns": _merged([*(part.patterns for part in every), *(server.patterns for server in servers)]),
        "servers": {server.key: server.document for server in servers},
        "server_ids": {server.key: server.ids for server in servers},
        "everyone": _entry(None, everyone) if everyone else {},
        "tenants": {tenant: _entry(membership.tenant(tenant), part) for tenant, part in parts.items()},
        "withdrawn": config_withdrawals(config),
        "rbac": {"roles": roles(config.auth.every_role), "bindings": subjects, "groups": groups},
    }


def _settings(config: Config) -> dict[str, Any]:
    return {
        "on_stale": config.opa.on_stale,
        "max_staleness_seconds": config.opa.max_staleness_seconds,
        "default_role": config.auth.default_role,
        "anonymous": not config.auth.enabled or config.auth.allow_anonymous,
        "act_as_on_mcp": config.auth.act_as_on_mcp,
        "several_issuers": len(config.auth.oidc.trusted) > 1,
    }


def _entry(tenant: Tenant | None, part: Part) -> dict[str, Any]:
    """Return what policy is told of a tenant; one that only a member entry names is active and has no limits."""
    active = tenant is None or tenant.active
    return {"active": active, "obligations": _obligations(tenant), "own": part.own, **part.shares}


def _obligations(tenant: Tenant | None) -> dict[str, dict[str, int]]:
    if tenant is None:
        return {}
    quotas = tenant.quotas
    limits = {
        "max_concurrent_requests": quotas.max_concurrent_requests,
        "requests_per_minute": quotas.requests_per_minute,
    }
    given = {name: limit for name, limit in limits.items() if limit is not None}
    return {"limits": given} if given else {}


def _merged(documents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for document in documents:
        merged.update(document)
    return merged


def _collisions(parts: Iterable[Part], everyone: Part | None) -> tuple[Collision, ...]:
    """Return the names that are contested in some offer; in egress the offer to everybody counts as no tenant."""
    tenants: Counter[str] = Counter()
    clashing: dict[str, set[str]] = {}
    for part, count in [*((part, 1) for part in parts), *([(everyone, 0)] if everyone else [])]:
        for contest in part.contests:
            clashing.setdefault(contest.name, set()).update(contest.rivals.values())
        tenants.update(dict.fromkeys({contest.name for contest in part.contests}, count))
    return tuple(Collision(name, tuple(sorted(ids)), tenants[name]) for name, ids in sorted(clashing.items()))
