"""Catalog files, tenant by tenant: what can be made of each, whatever the others are like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.addresses import is_loopback, parsed
from gateway.config.contents import Terms
from gateway.config.document import parse
from gateway.config.findings import Finding
from gateway.config.forms import CATALOG
from gateway.config.references import Context, Fence
from gateway.config.rules_servers import server_findings
from gateway.config.scalars import Scalars
from gateway.config.validate import validated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.config.document import Path as Keys
    from gateway.config.memory import Look
    from gateway.config.servers import OwnServer
    from gateway.config.tenants import Catalog, Tenant
    from gateway.config.tenants_file import Rows
    from gateway.errors import Mistake


@dataclass(frozen=True, slots=True)
class Draft:
    """A catalog file by itself, before it is held against the configuration; None where it has a mistake."""

    catalog: Catalog | None = None
    mistakes: tuple[Mistake, ...] = ()


class Catalogs:
    """Reads the catalogs of one list of tenants."""

    def __init__(self, rows: Rows, look: Look) -> None:
        self._rows = rows
        self._look = look
        self._terms = Terms(CATALOG.bounds.max_bytes, rows.roots)
        self._scalars = Scalars()
        # Of ten thousand catalogs many are alike; one without own servers says the same whoever's it is.
        self._alike: dict[bytes, Draft] = {}

    def draft(self, index: int) -> Draft:
        """Return what a tenant's catalog file says by itself."""
        path, tenant = self._rows.paths[index], self._rows.tenants[index]
        if path is None:
            return _NONE
        try:
            return self._look.made(
                f"catalog:{tenant.id}",
                path,
                self._terms,
                fence_of(tenant),
                lambda raw: self._made(raw, path, tenant),
            )
        except OSError as error:
            return Draft(mistakes=(self._rows.mistake(index, f"{path} cannot be read: {error.strerror}"),))

    def _made(self, raw: bytes, path: Path, tenant: Tenant) -> tuple[Draft, Context]:
        context = Context(path.parent, self._look.environ, Fence(tenant.secrets_dir, tenant.env_prefix))
        if alike := self._alike.get(raw):
            return alike, context
        document = parse(raw, str(path), CATALOG.bounds, self._scalars)

        def rules(made: Catalog) -> Iterator[Finding]:
            return catalog_findings(made, tenant)

        found = validated(document, CATALOG, rules, context)
        draft = Draft(None if found.mistakes else found.value, found.mistakes)
        if draft.catalog and not draft.catalog.own:
            self._alike[raw] = draft
        return draft, context


_NONE = Draft()


def fence_of(tenant: Tenant) -> tuple[object, ...]:
    """Return everything that the operator allows or denies to a tenant's own servers."""
    return tenant.secrets_dir, tenant.env_prefix, tenant.allow_stdio, tenant.allowed_networks


def catalog_findings(catalog: Catalog, tenant: Tenant) -> Iterator[Finding]:
    """Yield every rule that a catalog breaks by itself."""
    for id_, server in catalog.own.items():
        at: Keys = ("mcp_servers", id_)
        yield from server_findings(server, at)
        yield from _fenced(server, at, tenant)


def _fenced(server: OwnServer, at: Keys, tenant: Tenant) -> Iterator[Finding]:
    """Refuse what a tenant's server would do on the gateway's machine, or in the operator's network (A21).

    A name is judged again by every address that it has when it is connected to.
    """
    if server.mode == "stdio" and not tenant.allow_stdio:
        yield Finding((*at, "mode"), f"stdio runs a command on the gateway; it needs allow_stdio of {tenant.id}")
    if server.endpoint is None:
        return
    parts = urlsplit(server.endpoint)
    host = parts.hostname or ""
    if (parsed(host) or is_loopback(host)) and not _admits(tenant, host):
        message = f"{host} is not public; it needs its network in allowed_networks of {tenant.id} in tenants.yaml"
        yield Finding((*at, "endpoint"), message)
    elif parts.scheme != "https" and not tenant.allowed_networks:
        yield Finding((*at, "endpoint"), "must be https; plain http is for networks that the operator has allowed")


def _admits(tenant: Tenant, host: str) -> bool:
    addresses = tenant.addresses
    return addresses.admit(host) if parsed(host) else any(map(addresses.admit, ("127.0.0.1", "::1")))
