"""The withdrawals that config makes, by canonical id: of exact names, so they hold before a server lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.config.membership import own_key, own_servers
from gateway.ids import Ref

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.config import Config

Overlay = dict[str, dict[str, Any]]


def config_withdrawals(config: Config) -> dict[str, Any]:
    """Return the config's withdrawals: from everybody, and from single tenants."""
    everybody: Overlay = {}
    tenants: dict[str, Overlay] = {}
    for tenant, ids in _withdrawn(config):
        overlay = everybody if tenant is None else tenants.setdefault(tenant, {})
        overlay.update((id_, {"origin": "config"}) for id_ in ids)
    return {"global": everybody, "tenant": tenants}


def _withdrawn(config: Config) -> Iterator[tuple[str | None, Iterable[str]]]:
    for id_, server in config.mcp_servers.items():
        yield None, _ids(id_, server.tool_projection.withdrawn)
        for tenant, override in server.tool_projection.tenant_overrides.items():
            yield tenant, _ids(id_, override.withdrawn)
    yield None, config.tool_projection.withdrawn
    for tenant, ids in config.tool_projection.tenant_overrides.items():
        yield tenant, ids.withdrawn
    # Nobody else sees a tenant's own server.
    for owner, own_id, own in own_servers(config):
        yield None, _ids(own_key(owner.id, own_id), own.tool_projection.withdrawn)


def _ids(server: str, tools: Iterable[str]) -> list[str]:
    return [str(Ref.of_tool(server, tool)) for tool in tools]
