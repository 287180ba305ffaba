"""What a run of the suite is pointed at: the fixture alone, or the fixture behind a gateway with real OPA and sync."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.conformance import narrowed
from tests.conformance.shim import shim
from tests.support.gateway import PATIENT, Portcullis
from tests.support.processes import running
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable

    from tests.conformance.narrowed import Hidden

ROOT = Path(__file__).parents[2]
TENANT = "conformance"
SERVER = "everything"
START_SECONDS = 30


@asynccontextmanager
async def fixture(folder: Path, without: Collection[str] = ()) -> AsyncIterator[str]:
    """Run the fixture in a process of its own and yield its endpoint."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.conformance.fixture", "--without", *without]
    # In a process of its own, because several runs go on at once.
    with running(command, folder, name="fixture", environment={"PYTHONPATH": str(ROOT)}) as process:
        await until(process.said_a_line, timeout=START_SECONDS, what="the fixture is ready")
        yield process.out.read_text().strip()


@asynccontextmanager
async def gateway(
    folder: Path, hidden: Iterable[Hidden] = (), origin: str | None = None
) -> AsyncIterator[tuple[Portcullis, str]]:
    """Run a fixture behind a gateway that admits one tenant; yields the gateway and an API key of that tenant."""
    async with (
        fixture(folder) as endpoint,
        Portcullis(folder, config(endpoint, hidden, origin)) as portcullis,
    ):
        yield portcullis, await portcullis.key("service:agent", "--tenant", TENANT, role="developer")


@asynccontextmanager
async def through_gateway(folder: Path, hidden: Iterable[Hidden] = ()) -> AsyncIterator[str]:
    """Run all that stands between the suite and the fixture, and yield the endpoint that the suite is given."""
    async with shim() as door, gateway(folder, hidden, door.url) as (portcullis, key):
        door.lead_to(portcullis.url, {"X-API-Key": key})
        yield f"{door.url}/mcp"


def config(endpoint: str, hidden: Iterable[Hidden] = (), origin: str | None = None) -> dict[str, Any]:
    """Return a front door for one tenant and one server; pages of `origin` alone may ask it."""
    guards = {"allowed_hosts": ["127.0.0.1"], "allowed_origins": [origin]} if origin else {}
    member = {"tool_access": {"member": {TENANT: {}}}}
    return {
        "tool_access": {"mode": "front_door"},
        "server": guards,
        "auth": {"enabled": True},
        "opa": PATIENT,
        "mcp_servers": {SERVER: {"mode": "remote", "endpoint": endpoint, **member, **narrowed.lists(hidden)}},
    }
