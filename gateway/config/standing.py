"""Tenants as they are in force: with their catalog, with its last good version, or suspended; each by itself."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.config.catalogs import fence_of
from gateway.config.forms import CATALOG
from gateway.config.lines import Lines
from gateway.config.meaning import tenant_digest
from gateway.config.membership import Membership
from gateway.config.tenants import Catalog

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.config.catalogs import Draft
    from gateway.config.document import Path as Keys
    from gateway.config.schema import Config
    from gateway.config.tenants import Tenant
    from gateway.config.tenants_file import Rows
    from gateway.errors import Mistake


@dataclass(frozen=True, slots=True)
class KeptBack:
    """A tenant whose catalog is not in force as it lies there; the last good one is, or else it is suspended."""

    tenant: str
    mistakes: tuple[Mistake, ...]
    suspended: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """A tenant as it is in force, and what came to that: its row, its catalog file, what is wrong with either."""

    row: Tenant
    draft: Draft
    tenant: Tenant
    digest: str
    kept_back: KeptBack | None = None


class Judge:
    """Holds rows and catalogs against a configuration; `before` are the standings that are in force."""

    def __init__(self, config: Config, rows: Rows, before: Mapping[str, Standing], *, same_servers: bool) -> None:
        self._shared = config.mcp_servers.keys()
        self._members = Membership(config)
        self._rows = rows
        self._before = before
        self._same_servers = same_servers

    def standing(self, index: int, draft: Draft) -> Standing:
        """Return how a tenant stands whose catalog file says what the draft has."""
        row = self._rows.tenants[index]
        old = self._before.get(row.id)
        if old and (old.row is row or old.row == row):
            if self._same_servers and old.draft is draft:
                return old
            row = old.row
        mistakes = draft.mistakes or tuple(self._mistakes(index, draft.catalog))
        if not mistakes:
            return self._settled(row, draft, replace(row, catalog=draft.catalog) if draft.catalog else row, old)
        last = self._last_good(row, old)
        tenant = replace(row, catalog=last, active=row.active and last is not None)
        return self._settled(row, draft, tenant, old, KeptBack(row.id, mistakes, suspended=last is None))

    def _settled(
        self, row: Tenant, draft: Draft, tenant: Tenant, old: Standing | None, kept_back: KeptBack | None = None
    ) -> Standing:
        if old and old.tenant == tenant:
            return Standing(row, draft, old.tenant, old.digest, kept_back)
        return Standing(row, draft, tenant, tenant_digest(tenant, self._rows.folder), kept_back)

    def _mistakes(self, index: int, catalog: Catalog | None) -> Iterator[Mistake]:
        """Yield what a catalog breaks that is right by itself."""
        row, path = self._rows.tenants[index], self._rows.paths[index]
        found = tuple(self._broken(row, catalog)) if catalog else ()
        if found and path:
            lines = Lines(path, CATALOG.bounds, self._rows.roots)
            yield from (lines.mistake(keys, message) for keys, message in found)
        offered, most = self._count(row, catalog), row.quotas.max_servers
        if most is not None and offered > most:
            yield self._rows.mistake(index, f"{row.id} is offered {offered} servers, and its max_servers is {most}")

    def _broken(self, row: Tenant, catalog: Catalog) -> Iterator[tuple[Keys, str]]:
        for id_ in catalog.servers.keys() - self._shared:
            near = difflib.get_close_matches(id_, self._shared, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            yield ("servers", id_), f"there is no server {id_} in mcp_servers of the configuration{hint}"
        for id_ in catalog.own.keys() & self._offered(row, catalog):
            yield ("mcp_servers", id_), f"the tenant is offered a shared server {id_} already; choose another id"

    def _offered(self, row: Tenant, catalog: Catalog | None) -> set[str]:
        return {*self._members.configured(row.id), *(catalog.servers if catalog else ())}

    def _count(self, row: Tenant, catalog: Catalog | None) -> int:
        return len(self._offered(row, catalog)) + len(catalog.own if catalog else ())

    def _last_good(self, row: Tenant, old: Standing | None) -> Catalog | None:
        """Return the catalog that is in force, less what the configuration no longer allows; None for none."""
        last = old.tenant.catalog if old else None
        if old is None or last is None:
            return None
        servers = {id_: offer for id_, offer in last.servers.items() if id_ in self._shared}
        offered = {*self._members.configured(row.id), *servers}
        # Servers that were admitted through another fence have not been judged by this one.
        kept = last.own if fence_of(old.row) == fence_of(row) else {}
        own = {id_: server for id_, server in kept.items() if id_ not in offered}
        most = row.quotas.max_servers
        return (
            None if most is not None and len(offered) + len(own) > most else Catalog(servers=servers, mcp_servers=own)
        )
