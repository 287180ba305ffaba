"""All configured servers, each with connections, sessions and limits of its own."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from yarl import URL

from gateway.addresses import Addresses
from gateway.dial import Dialer, trust
from gateway.errors import UpstreamFailed
from gateway.upstream.connections import Connections
from gateway.upstream.errands import Errands
from gateway.upstream.http import Endpoint
from gateway.upstream.processes import StdioServer
from gateway.upstream.server import UpstreamServer
from gateway.upstream.slots import Slots
from gateway.upstream.target import StdioTarget

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.ids import Ref
    from gateway.mcp.answers import Answer
    from gateway.mcp.tools import Tool
    from gateway.model import Principal
    from gateway.upstream.target import AnyTarget, Target

# How long a server that was taken out of the configuration may go on with what it has begun.
_PATIENCE_SECONDS = 30.0


def connect(target: Target) -> Connections:
    """Return the connections to one server: none is shared, and none goes outside its allowed networks."""
    # No limit here: places are counted in the server, where one too many is refused and not queued.
    url = URL(target.endpoint)
    addresses = Addresses.of_server(target.allowed_networks)
    tls = trust() if url.scheme == "https" else None
    return Connections(Dialer(addresses, url.raw_host or "", url.port or 0, tls=tls))


class Upstreams:
    """The configured servers by id. Needs a running loop; `close` ends sessions and connections."""

    def __init__(
        self,
        targets: Mapping[str, AnyTarget],
        *,
        slots: Slots | None = None,
        connect: Callable[[Target], Connections] = connect,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.slots = slots or Slots()
        self._connect = connect
        self._clock = clock
        self._servers: dict[str, UpstreamServer | StdioServer] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self.replace(targets)

    @property
    def dropped(self) -> Mapping[str, int]:
        """How many definitions of each server's last listing could not be offered."""
        return {name: server.dropped for name, server in self._servers.items()}

    def replace(self, targets: Mapping[str, AnyTarget]) -> None:
        """Serve these from now on; an unchanged server keeps its connections, a removed one finishes its calls."""
        before = self._servers
        self._servers = {
            name: before[name] if name in before and before[name].target == target else self._server(target)
            for name, target in targets.items()
        }
        for name, server in before.items():
            if self._servers.get(name) is not server:
                self._retire(server)

    async def list_tools(self, server: str) -> tuple[Tool, ...]:
        """Return what a server offers, by name; raises UpstreamFailed."""
        return await self._find(server).list_tools()

    async def call(
        self, ref: Ref, arguments: Mapping[str, Any] | None, meta: Mapping[str, Any], *, principal: Principal
    ) -> Answer:
        """Call a tool for a principal with exactly these arguments; raises UpstreamFailed.

        Cancelling the awaiting task closes the request at the server.
        """
        return await self._find(ref.server).call(ref.name, arguments, meta, principal)

    async def close(self) -> None:
        """Close every server, at once."""
        await asyncio.gather(*(server.close() for server in self._servers.values()))
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)

    def _server(self, target: AnyTarget) -> UpstreamServer | StdioServer:
        if isinstance(target, StdioTarget):
            return StdioServer(target, self.slots, self._clock)
        errands = Errands()
        endpoint = Endpoint(target, self._connect(target), errands)
        return UpstreamServer(target, endpoint, errands, self._clock)

    def _find(self, name: str) -> UpstreamServer | StdioServer:
        server = self._servers.get(name)
        if server is None:
            raise UpstreamFailed(name, "is not configured")
        return server

    def _retire(self, server: UpstreamServer | StdioServer) -> None:
        task = asyncio.create_task(server.close(_PATIENCE_SECONDS))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
