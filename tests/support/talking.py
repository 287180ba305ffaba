"""A gateway before servers that talk: one of both eras, one of each alone, with the same tools under other names."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.gateway import MODERN, PATIENT, Portcullis, front_door
from tests.support.streaming import CAN, StreamingAgent
from tests.support.talker import Talker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from tests.support.issuer import Issuer
    from tests.support.talker import Tool

ERAS = {
    "both": frozenset({"modern", "legacy"}),
    "modern": frozenset({"modern"}),
    "legacy": frozenset({"legacy"}),
}
LEGACY = "2025-11-25"


@dataclass
class Talking:
    """The gateway and its servers by era; a tool `t` of the server `both` is called `t_both`."""

    gateway: Portcullis
    servers: dict[str, Talker]
    issuer: Issuer
    key: str = field(default="", repr=False)

    def agent(
        self, version: str = MODERN, tenant: str = "tenant:a", sub: str = "jo", *, can: Any = None, **more: Any
    ) -> StreamingAgent:
        """Return an agent of a tenant; without `can` it can everything that a server may ask for."""
        token = self.issuer.mint(tenant_id=tenant, sub=sub)
        credential = {"Authorization": f"Bearer {token}"}
        return StreamingAgent(self.gateway.url, credential, version, CAN if can is None else can, **more)


@asynccontextmanager
async def talking(
    folder: Path,
    issuer: Issuer,
    tools: Mapping[str, Tool],
    section: Mapping[str, Any] | None = None,
    sections: Mapping[str, Any] | None = None,
    offers: Callable[[str], Mapping[str, Any]] = lambda _: {},
    **options: Any,
) -> AsyncIterator[Talking]:
    """Run servers with these tools and a gateway before them; `section` is what its configuration says of each.

    `sections` is what it says besides; `options` go to the servers, and so does what `offers` says of each by name.
    """
    async with AsyncExitStack() as stack:
        servers = {}
        for name, spoken in ERAS.items():
            named = {f"{tool}_{name}": function for tool, function in tools.items()}
            servers[name] = await stack.enter_async_context(Talker(named, spoken, **options, **offers(name)).serve())
        described = {
            name: {
                "mode": "remote",
                "endpoint": server.url,
                "tool_access": {"member": {"tenant:a": {}, "tenant:b": {}}},
                **(section or {}),
            }
            for name, server in servers.items()
        }
        config = front_door("", issuer.url, mcp_servers=described, opa=PATIENT, **(sections or {}))
        gateway = await stack.enter_async_context(Portcullis(folder, config))
        yield Talking(gateway, servers, issuer)
