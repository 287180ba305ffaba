"""All configured servers, each with connections, sessions and limits of its own."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

from yarl import URL

from gateway.dial import Dialer, trust
from gateway.errors import UpstreamFailed
from gateway.mcp.sections import TOOLS
from gateway.upstream.announced import Announced
from gateway.upstream.connections import Connections
from gateway.upstream.errands import Errands
from gateway.upstream.generations import Generations
from gateway.upstream.http import Endpoint
from gateway.upstream.processes import StdioServer
from gateway.upstream.server import UpstreamServer
from gateway.upstream.slots import Slots
from gateway.upstream.target import StdioTarget

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping

    from gateway.ids import Ref
    from gateway.mcp.answers import Answer
    from gateway.mcp.definitions import Definition, Offered
    from gateway.mcp.params import ParamHeaders
    from gateway.model import Principal
    from gateway.upstream.announced import Heard
    from gateway.upstream.call import Call, Hear, Position
    from gateway.upstream.target import AnyTarget, Target

# How long a server that was taken out of the configuration may go on with what it has begun.
_PATIENCE_SECONDS = 30.0
# How long nothing must have been decided by a configuration until its servers are let go of.
_UNUSED_SECONDS = 10.0


def connect(target: Target) -> Connections:
    """Return the connections to one server: none is shared, and none goes outside its allowed networks."""
    # No limit here: places are counted in the server, where one too many is refused and not queued.
    url = URL(target.endpoint)
    tls = trust() if url.scheme == "https" else None
    return Connections(Dialer(target.addresses, url.raw_host or "", url.port or 0, tls=tls))


class Upstreams:
    """The configured servers by key. Needs a running loop; `close` ends sessions and connections.

    `config` is the configuration that the targets are of, as decisions name it.
    """

    def __init__(
        self,
        targets: Mapping[str, AnyTarget],
        config: str = "",
        *,
        slots: Slots | None = None,
        connect: Callable[[Target], Connections] = connect,
        clock: Callable[[], float] = time.monotonic,
        heard: Heard | None = None,
    ) -> None:
        """`heard` is what is done when a server says that it offers something else; without it none is listened to."""
        self.slots = slots or Slots()
        self._heard = heard
        self._connect = connect
        self._clock = clock
        self._generations: Generations[UpstreamServer | StdioServer] = Generations(config, {})
        self._retiring: set[asyncio.Task[None]] = set()
        self._attended: dict[Hashable, Callable[[str], Hear]] = {}
        # How many watch each resource, by the key of its server.
        self._watched: Counter[tuple[str, str]] = Counter()
        self.replace(targets, config)

    @property
    def dropped(self) -> Mapping[str, int]:
        """How many definitions of each server's last listing could not be offered."""
        return {name: server.dropped for name, server in self._generations.newest.items()}

    def replace(self, targets: Mapping[str, AnyTarget], config: str = "") -> None:
        """Serve these from now on, and those before to whoever is admitted by a decision that is of that time.

        An unchanged server keeps its connections.
        """
        servers = {name: self._same(name, target) or self._server(target) for name, target in targets.items()}
        self._retire(self._generations.put(config, servers))

    def knows(self, config: str) -> bool:
        """Say whether the servers of this configuration are here."""
        return self._generations.knows(config)

    async def run(self) -> None:
        """Let go of servers of configurations that nothing is decided by any more, until cancelled."""
        while True:
            await asyncio.sleep(_UNUSED_SECONDS)
            self._retire(self._generations.forget_unused())

    async def offered(self, server: str) -> Offered:
        """Return what a server offers; raises UpstreamFailed."""
        return await self._find(server).offered()

    async def list_tools(self, server: str) -> tuple[Definition, ...]:
        """Return the tools that a server offers, by name; raises UpstreamFailed."""
        return (await self.offered(server)).get(TOOLS.method, ())

    def watch(self, server: str, uri: str) -> Callable[[], None] | None:
        """Hear of a resource from now on and return what ends that; None where the server does not say of any."""
        found = self._generations.newest.get(server)
        if not isinstance(found, UpstreamServer) or not found.announced.subscribes(uri):
            return None
        self._watched[server, uri] += 1
        found.announced.watch(uri)
        return lambda: self._unwatch(server, uri)

    def param_headers(self, ref: Ref, config: str | None = None) -> ParamHeaders:
        """Return which arguments of a tool are repeated in headers; raises UpstreamFailed."""
        return self._find(ref.server, config).param_headers(ref.name)

    def call(self, ref: Ref, call: Call, config: str | None = None) -> Awaitable[Answer]:
        """Ask something of a server for something, as it is named there; raises UpstreamFailed.

        `config` is the configuration by which that was decided: the call goes where that one says.
        Cancelling the awaiting task closes the request at the server.
        """
        return self._find(ref.server, config).call(call)

    def resume(self, caller: Principal, place: Position, hear: Hear, config: str | None = None) -> Awaitable[Answer]:
        """Take up the stream of a caller's call again and return the answer at its end; raises UpstreamFailed."""
        return self._in_sessions(place.server, config).resume(caller, place, hear)

    def answer(self, caller: Principal, place: Position, body: bytes, config: str | None = None) -> Awaitable[None]:
        """Post the answer to what a server asked in a caller's session; raises UpstreamFailed."""
        return self._in_sessions(place.server, config).answer(caller, place, body)

    def attend(
        self, whose: Hashable, hear: Callable[[str], Hear], at: tuple[Principal, Position] | None = None
    ) -> None:
        """Hand on what servers say in somebody's sessions beside calls, those that are opened later included.

        Where it is `at` a place of a caller's, from there on. `hear` makes of a server's id what hears it.
        """
        self._attended[whose] = hear
        for server in self._with_sessions():
            name = server.target.server
            server.attend(whose, hear(name), at if at and at[1].server == name else None)

    def ignore(self, whose: Hashable) -> None:
        """Stop handing on what servers say in somebody's sessions."""
        self._attended.pop(whose, None)
        for server in self._with_sessions():
            server.ignore(whose)

    def tell(self, whose: Hashable, body: bytes) -> None:
        """Tell every server that somebody has a session with."""
        for server in self._with_sessions():
            server.tell(whose, body)

    def leave(self, whose: Hashable) -> None:
        """End somebody's sessions."""
        self._attended.pop(whose, None)
        for server in self._with_sessions():
            server.leave(whose)

    async def close(self) -> None:
        """Close every server, at once."""
        await asyncio.gather(*(server.close() for server in self._generations.every))
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)

    def _server(self, target: AnyTarget) -> UpstreamServer | StdioServer:
        if isinstance(target, StdioTarget):
            return StdioServer(target, self.slots, self._clock)
        errands, announced = Errands(), Announced(target.server, self._heard)
        endpoint = Endpoint(target, self._connect(target), errands, announced.hear)
        server = UpstreamServer(target, endpoint, errands, self._clock, announced)
        for name, uri in self._watched:
            if name == target.server:
                announced.watch(uri)
        for whose, hear in self._attended.items():
            server.attend(whose, hear(target.server))
        return server

    def _unwatch(self, name: str, uri: str) -> None:
        self._watched[name, uri] -= 1
        if self._watched[name, uri] <= 0:
            del self._watched[name, uri]
            for server in self._generations.like(name):
                if isinstance(server, UpstreamServer):
                    server.announced.unwatch(uri)

    def _with_sessions(self) -> Iterator[UpstreamServer]:
        """Yield the servers of any configuration that keep sessions; a process is a session of its owner's."""
        return (server for server in self._generations.every if isinstance(server, UpstreamServer))

    def _in_sessions(self, name: str, config: str | None) -> UpstreamServer:
        server = self._find(name, config)
        if isinstance(server, StdioServer):
            raise UpstreamFailed(name, "keeps no sessions")
        return server

    def _same(self, name: str, target: AnyTarget) -> UpstreamServer | StdioServer | None:
        return next((server for server in self._generations.like(name) if server.target == target), None)

    def _find(self, name: str, config: str | None = None) -> UpstreamServer | StdioServer:
        server = self._generations.newest.get(name) if config is None else self._generations.find(config, name)
        if server is None:
            raise UpstreamFailed(name, "is not configured")
        return server

    def _retire(self, servers: Iterable[UpstreamServer | StdioServer]) -> None:
        for server in servers:
            task = asyncio.create_task(server.close(_PATIENCE_SECONDS))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)
