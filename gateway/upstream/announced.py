"""What a server says of its own lists: heard in the gateway's name, for all who see something of it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple

from gateway import background
from gateway.errors import UpstreamFailed
from gateway.upstream import outgoing
from gateway.upstream.era import Modern

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from gateway.upstream.era import Legacy
    from gateway.upstream.peer import Incoming, Peer

    Sending = tuple[dict[str, str], AbstractAsyncContextManager[Incoming]]

# A server may say so as often as it likes; that often at most it is listed for it, and somebody told.
TOLD_SECONDS = 0.2
LISTED_SECONDS = 2.0
# After a stream that ended; less and less often where it never lasts.
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 60.0
_METHOD = "subscriptions/listen"
_WANTED = {"notifications": {"toolsListChanged": True}}


class Heard(NamedTuple):
    """What is done when a server says that it offers something else: whoever listens is told, and it is listed."""

    tell: Callable[[str], None]
    list: Callable[[str], Awaitable[None]]


class Announced:
    """Listens to one server, if it has declared that it says so."""

    def __init__(self, server: str, heard: Heard | None) -> None:
        self._server = server
        self._heard = heard
        self._told, self._stale = asyncio.Event(), asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._era: Modern | Legacy | None = None
        self._listening: asyncio.Task[None] | None = None

    def changed(self) -> None:
        """Have it told and listed, soon."""
        self._wake(self._told, self._stale)

    def follow(self, era: Modern | Legacy | None, peer: Peer, ids: Iterator[int]) -> None:
        """Listen to the server in this era, or in this session; again, if that has come to an end."""
        listening = self._listening
        if era == self._era and listening is not None and not listening.done():
            return
        self._stop()
        if era is not None and era.announces and self._heard is not None:
            self._era = era
            self._listening = asyncio.create_task(self._listen(era, peer, ids))

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
            steps = (self._told, TOLD_SECONDS, self._tell), (self._stale, LISTED_SECONDS, self._list)
            self._tasks = [asyncio.create_task(_paced(*one)) for one in steps]
            for task in self._tasks:
                task.add_done_callback(background.report)
        for one in wanted:
            one.set()

    def _stop(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
        self._listening = self._era = None

    async def _tell(self) -> None:
        assert self._heard is not None
        self._heard.tell(self._server)

    async def _list(self) -> None:
        assert self._heard is not None
        await self._heard.list(self._server)

    async def _listen(self, era: Modern | Legacy, peer: Peer, ids: Iterator[int]) -> None:
        loop, pause = asyncio.get_running_loop(), 0.0
        while True:
            began = loop.time()
            headers, sending = _sending(era, peer, ids)
            with contextlib.suppress(UpstreamFailed):
                async with sending as stream:
                    if stream.status != 200:
                        return  # It has no such stream, whatever it has declared.
                    if pause:
                        # Nobody knows what was said meanwhile.
                        self._wake(self._stale)
                    async for message in stream:
                        peer.refuse(message, headers)
            lasted = loop.time() - began > MAX_PAUSE_SECONDS
            pause = MIN_PAUSE_SECONDS if lasted else min(max(pause * 2, MIN_PAUSE_SECONDS), MAX_PAUSE_SECONDS)
            await asyncio.sleep(pause)


def _sending(era: Modern | Legacy, peer: Peer, ids: Iterator[int]) -> Sending:
    if not isinstance(era, Modern):
        headers = outgoing.legacy_headers(era.version, era.session)
        return headers, peer.listen(headers)
    id_, headers = next(ids), outgoing.modern_headers(era.version, _METHOD)
    params = {**_WANTED, "_meta": outgoing.modern_meta(era.version, {})}
    return headers, peer.stream(id_, outgoing.request(id_, _METHOD, params), headers)


async def _paced(wanted: asyncio.Event, seconds: float, step: Callable[[], Awaitable[None]]) -> None:
    """Take a step whenever it is wanted, and no more often than every so many seconds."""
    while True:
        await wanted.wait()
        wanted.clear()
        await step()
        await asyncio.sleep(seconds)
