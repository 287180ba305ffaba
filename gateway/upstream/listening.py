"""The streams on which older servers say what answers nothing: one for each session of an agent that listens to it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.errors import UpstreamFailed
from gateway.mcp.headers import LAST_EVENT
from gateway.upstream.call import Link, Position
from gateway.upstream.wire import pause_of

if TYPE_CHECKING:
    from collections.abc import Hashable

    from gateway.upstream.call import Hear
    from gateway.upstream.era import Legacy
    from gateway.upstream.peer import Peer

# A server that ends its stream at once, each time, is asked for it less and less often.
MAX_PAUSE_SECONDS = 60.0


class Listening:
    """Listens in the sessions of those who want to hear, for as long as they do."""

    def __init__(self, server: str, peer: Peer) -> None:
        self._server = server
        self._peer = peer
        self._hear: dict[Hashable, Hear] = {}
        self._tasks: dict[Hashable, asyncio.Task[None]] = {}

    def begin(self, whose: Hashable, hear: Hear) -> None:
        """Hand what is said in somebody's session to `hear` from now on, in place of whoever heard it before."""
        self.end(whose)
        self._hear[whose] = hear

    def listen(self, whose: Hashable, session: Legacy, event: str | None = None) -> None:
        """Listen in a session of somebody who wants to hear, if it is one; after an event, where one was the last."""
        hear = self._hear.get(whose)
        if hear is not None and session.session is not None:
            self._stop(whose)
            self._tasks[whose] = asyncio.create_task(self._listen(session, hear, event))

    def end(self, whose: Hashable) -> None:
        """Stop listening for somebody."""
        self._hear.pop(whose, None)
        self._stop(whose)

    async def close(self) -> None:
        """Stop listening for anybody."""
        tasks = list(self._tasks.values())
        for whose in list(self._hear):
            self.end(whose)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _stop(self, whose: Hashable) -> None:
        task = self._tasks.pop(whose, None)
        if task is not None:
            task.cancel()

    async def _listen(self, session: Legacy, hear: Hear, event: str | None) -> None:
        place = Position(self._server, session.session, session.version, None, "")
        headers = session.headers
        link, pause = Link(self._peer, headers, None, place), 0.0
        while True:
            sending = self._peer.listen(headers if event is None else headers | {LAST_EVENT: event})
            with suppress(UpstreamFailed):
                async with sending as stream:
                    if stream.status != 200:
                        return  # It has no such stream, which most servers have not.
                    async for message in stream:
                        pause = 0.0
                        await hear(message, link)
                    pause = max(pause, pause_of(stream))
                    if stream.last_event_id is not None:
                        event = stream.last_event_id.decode("ascii", "replace")
            await asyncio.sleep(pause := min(max(pause * 2, 1.0), MAX_PAUSE_SECONDS))
