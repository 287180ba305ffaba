"""Two whole gateways, each with an OPA and a sync of its own, on one PostgreSQL."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.support.gateway import PATIENT, Portcullis, front_door

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

Gateways = tuple[Portcullis, Portcullis]


@asynccontextmanager
async def two_gateways(folder: Path, endpoint: str, issuer: str, url: str, **auth: Any) -> AsyncIterator[Gateways]:
    """Run two gateways, `gw-1` and `gw-2`, on the ledger at `url`, with additions to `auth`."""
    async with AsyncExitStack() as stack:

        async def gateway(name: str) -> Portcullis:
            opa, storage = {**PATIENT, "replica": name}, {"url": url}
            config = front_door(endpoint, issuer, opa=opa, storage=storage, server={"port": 0})
            config["auth"].update(auth)
            return await stack.enter_async_context(Portcullis(folder / name, config))

        yield await gateway("gw-1"), await gateway("gw-2")
