"""The withdrawals that config makes, by canonical id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bundles.globs import Glob

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bundles.catalog import Catalog
    from gateway.config import Config


def config_withdrawals(config: Config, catalogs: Mapping[str, Catalog]) -> dict[str, Any]:
    """Return the config's withdrawals by canonical id; an exact name holds even before its server lists it."""
    everybody: dict[str, Any] = {}
    tenants: dict[str, dict[str, Any]] = {}
    for id_, server in config.mcp_servers.items():
        projection = server.tool_projection
        everybody |= _origins(_within(id_, projection.withdrawn, catalogs[id_]))
        for tenant, override in projection.tenant_overrides.items():
            tenants.setdefault(tenant, {}).update(_origins(_within(id_, override.withdrawn, catalogs[id_])))
    everybody |= _origins(_across(config.tool_projection.withdrawn, catalogs))
    for tenant, ids in config.tool_projection.tenant_overrides.items():
        tenants.setdefault(tenant, {}).update(_origins(_across(ids.withdrawn, catalogs)))
    return {"global": everybody, "tenant": tenants}


def _within(server: str, patterns: Sequence[str], catalog: Catalog) -> set[str]:
    exact = (Glob(pattern).literal for pattern in patterns)
    return {f"{server}/{name}" for name in exact if name is not None} | set(catalog.ids(catalog.hits(patterns)))


def _across(patterns: Sequence[str], catalogs: Mapping[str, Catalog]) -> set[str]:
    globs = [Glob(pattern) for pattern in patterns]
    exact = {name for name in (glob.literal for glob in globs) if name is not None}
    every = (id_ for catalog in catalogs.values() for id_ in catalog.ids(catalog.everything))
    real = [glob for glob in globs if glob.literal is None]
    return exact | {id_ for id_ in every if any(glob.matches(id_) for glob in real)}


def _origins(ids: set[str]) -> dict[str, Any]:
    return {id_: {"origin": "config"} for id_ in ids}
