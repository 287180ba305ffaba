"""The checks of `portcullis check` that need more than the file: users' Rego, and what the servers offer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bundles.custom import read_custom
from bundles.expand import Expander
from gateway.audit import now_ms
from gateway.errors import ConfigError, EngineMissing, UpstreamFailed
from gateway.model import ServerInventory
from gateway.pdp.opa_binary import find
from gateway.rooms import upstream_targets
from gateway.upstream.pool import Upstreams

if TYPE_CHECKING:
    from gateway.config import Loaded


async def custom_policy(loaded: Loaded) -> list[str]:
    """Return what is wrong with the custom policies; without an OPA they cannot be checked, which is wrong too."""
    folder = loaded.config.opa.custom_policies
    if folder is None:
        return []
    try:
        binary = await asyncio.to_thread(find, loaded.config.opa.binary)
        await asyncio.to_thread(read_custom, folder, binary.path)
    except ConfigError as error:
        return [str(mistake) for mistake in error.mistakes]
    except EngineMissing as error:
        return [f"{folder}: {error}"]
    return []


async def servers(loaded: Loaded) -> list[str]:
    """Return which servers cannot be listed, and which names collide among those that can."""
    upstreams = Upstreams(upstream_targets(loaded.config))
    try:
        listed = await asyncio.gather(*(_listed(upstreams, name) for name in loaded.config.mcp_servers))
    finally:
        await upstreams.close()
    inventory = [one for one in listed if isinstance(one, ServerInventory)]
    expansion = Expander().expand(loaded.config, loaded.hash, inventory)
    return [
        *(one for one in listed if isinstance(one, str)),
        *(
            f"the name {one.name!r} of {', '.join(one.ids)} is offered by none of them, because several have it"
            for one in expansion.collisions
        ),
    ]


async def _listed(upstreams: Upstreams, name: str) -> ServerInventory | str:
    try:
        tools = await upstreams.list_tools(name)
    except UpstreamFailed as error:
        return f"server {name} cannot be listed: it {error.why}"
    return ServerInventory(name, "", tuple(tool.name for tool in tools), now_ms())
