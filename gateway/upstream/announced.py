"""What a server says of what it offers: heard in the gateway's name, for all who see something of it.

That its lists have changed, and that a resource has which somebody watches.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway import background
from gateway.errors import UpstreamFailed
from gateway.mcp import subscriptions, told
from gateway.upstream import outgoing
from gateway.upstream.era import Legacy, Modern

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from gateway.ids import Kind
    from gateway.mcp.answers import ServerRequest
    from gateway.upstream.peer import Incoming, Peer
    from gateway.upstream.wire import Wire

    Sending = tuple[dict[str, str], AbstractAsyncContextManager[Incoming]]

# A server may say so as often as it likes; that often at most it is listed for it, and somebody told.
TOLD_SECONDS = 0.2
LISTED_SECONDS = 2.0
# How long a change of what is watched waits for others, for each begins a new stream.
WATCHED_SECONDS = 0.1
# After a stream that ended; less and less often where it never lasts.
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 60.0
# For all that an older server is asked to tell of, when a stream of it begins.
SUBSCRIBE_SECONDS = 30.0
MAX_WATCHED = 1000
_METHOD = "subscriptions/listen"


class Heard(NamedTuple):
    """What is done when a server says something: whoever listens is told of kinds, or of a URI, and it is listed."""

    tell: Callable[[str, frozenset[Kind]], None]
    list: Callable[[str], Awaitable[None]]
    update: Callable[[str, str], None] = lambda _server, _uri: None


class Announced:
    """Listens to one server, if it has declared that it says so."""

    def __init__(self, server: str, heard: Heard | None) -> None:
        self._server = server
        self._heard = heard
        self._told, self._stale, self._rewatched = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._kinds: set[Kind] = set()
        self._updated: dict[str, None] = {}
        self._watched: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._at: tuple[Modern | Legacy, Peer, Wire] | None = None
        # What an older server was asked to tell of in the session that it has now.
        self._asked_for: set[str] = set()
        self._listening: asyncio.Task[None] | None = None

    def hear(self, message: ServerRequest) -> None:
        """Have it told, soon, if it is of what the server offers."""
        if (kind := subscriptions.CHANGES.get(message.method)) is not None:
            self._kinds.add(kind)
            self._wake(self._told, self._stale)
        elif message.method == subscriptions.UPDATED:
            uri = told.text_of(told.params_of(message).get("uri"))
            if len(self._updated) < MAX_WATCHED and any(subscriptions.covers(one, uri) for one in self._watched):
                self._updated[uri] = None
                self._wake(self._told)

    def subscribes(self, uri: str) -> bool:
        """Whether the server says when a resource changes, and there is room to hear of this one."""
        declares = self._at is not None and self._at[0].declared.subscribes
        return declares and (uri in self._watched or len(self._watched) < MAX_WATCHED)

    def watch(self, uri: str) -> None:
        """Hear of a resource from now on, until `unwatch`, as soon as the server is known."""
        if uri not in self._watched:
            self._watched.add(uri)
            self._wake(self._rewatched)

    def unwatch(self, uri: str) -> None:
        """Hear of a resource no more."""
        if uri in self._watched:
            self._watched.remove(uri)
            self._wake(self._rewatched)

    def follow(self, era: Modern | Legacy | None, peer: Peer, wire: Wire) -> None:
        """Listen to the server in this era, or in this session; again, if that has come to an end."""
        same = self._at is not None and self._at[0] == era
        if not same:
            self._asked_for.clear()
        self._at = None if era is None else (era, peer, wire)
        if not same or self._listening is None or self._listening.done():
            self._listen_anew()

    async def close(self) -> None:
        """Listen no more."""
        tasks = [*self._tasks, *([self._listening] if self._listening else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _wake(self, *wanted: asyncio.Event) -> None:
        if self._heard is None:
            return
        if not self._tasks:
            steps = (
                (self._told, TOLD_SECONDS, self._tell),
                (self._stale, LISTED_SECONDS, self._list),
                (self._rewatched, WATCHED_SECONDS, self._rewatch),
            )
            self._tasks = [asyncio.create_task(_paced(*one)) for one in steps]
            for task in self._tasks:
                task.add_done_callback(background.report)
        for one in wanted:
            one.set()

    def _listen_anew(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
        self._listening = None
        if self._at is not None and self._heard is not None:
            declared = self._at[0].declared
            if declared.announces or (declared.subscribes and (self._watched or self._asked_for)):
                self._listening = asyncio.create_task(self._listen(*self._at))

    async def _tell(self) -> None:
        assert self._heard is not None
        kinds, self._kinds = frozenset(self._kinds), set()
        updated, self._updated = self._updated, {}
        if kinds:
            self._heard.tell(self._server, kinds)
        for uri in updated:
            self._heard.update(self._server, uri)

    async def _list(self) -> None:
        assert self._heard is not None
        await self._heard.list(self._server)

    async def _rewatch(self) -> None:
        """Have the server tell of other resources than before; whoever asks at the same time waits for one round."""
        await asyncio.sleep(WATCHED_SECONDS)
        self._listen_anew()

    async def _listen(self, era: Modern | Legacy, peer: Peer, wire: Wire) -> None:
        loop, pause = asyncio.get_running_loop(), 0.0
        while True:
            began = loop.time()
            headers, sending = self._sending(era, peer, wire)
            with contextlib.suppress(UpstreamFailed, TimeoutError):
                async with sending as stream:
                    if stream.status != 200:
                        return  # It has no such stream, whatever it has declared.
                    if pause:
                        # Nobody knows what was said meanwhile.
                        self._wake(self._stale)
                    if isinstance(era, Legacy) and era.declared.subscribes:
                        async with asyncio.timeout(SUBSCRIBE_SECONDS):
                            await self._subscribe(era, wire)
                    async for message in stream:
                        peer.refuse(message, headers)
            lasted = loop.time() - began > MAX_PAUSE_SECONDS
            pause = MIN_PAUSE_SECONDS if lasted else min(max(pause * 2, MIN_PAUSE_SECONDS), MAX_PAUSE_SECONDS)
            await asyncio.sleep(pause)

    async def _subscribe(self, session: Legacy, wire: Wire) -> None:
        """Ask an older server to tell of what is watched, in the session of the stream that it tells it on."""
        for uri in sorted(self._watched - self._asked_for):
            self._asked_for.add(uri)
            await wire.legacy(session, "resources/subscribe", {"uri": uri})
        for uri in sorted(self._asked_for - self._watched):
            await wire.legacy(session, "resources/unsubscribe", {"uri": uri})
            self._asked_for.discard(uri)

    def _sending(self, era: Modern | Legacy, peer: Peer, wire: Wire) -> Sending:
        if not isinstance(era, Modern):
            return era.headers, peer.listen(era.headers)
        id_, headers = next(wire.ids), outgoing.modern_headers(era.version, _METHOD)
        wanted: dict[str, Any] = {
            name: True for name, kind in subscriptions.HONOURED.items() if kind in era.declared.announces
        }
        if self._watched and era.declared.subscribes:
            wanted[subscriptions.WATCHED] = sorted(self._watched)
        params = {"notifications": wanted, "_meta": outgoing.modern_meta(era.version, {})}
        return headers, peer.stream(id_, outgoing.request(id_, _METHOD, params), headers)


async def _paced(wanted: asyncio.Event, seconds: float, step: Callable[[], Awaitable[None]]) -> None:
    """Take a step whenever it is wanted, and no more often than every so many seconds."""
    while True:
        await wanted.wait()
        wanted.clear()
        await step()
        await asyncio.sleep(seconds)
