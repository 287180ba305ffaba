"""What the servers offer, of every kind: the last known definitions, encoded once for each way of listing them.

Servers are listed at start and each minute. While one is down, what it offered last stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING

from gateway.errors import Unavailable, UpstreamFailed
from gateway.ids import Kind, Mode, server_of
from gateway.known import UNKNOWN, Listing, Summary, inventory_of, known_server, recalled_server
from gateway.lru import Lru
from gateway.mcp.definitions import Fragment, digest_of, joined
from gateway.mcp.sections import TOOLS
from gateway.model import View
from gateway.single_flight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from gateway.facts import ServerInventory
    from gateway.ids import Ref
    from gateway.known import KnownServer
    from gateway.mcp.definitions import Offered

LOG = logging.getLogger("portcullis.inventory")
REFRESH_SECONDS = 60.0
# A list waits this long at most for definitions that it lacks, and a server is not asked for them more often.
FETCH_SECONDS = 2.0
FETCH_AGAIN_SECONDS = 5.0
# Whole lists, so that one that is asked for again and again costs the same however many tools are in it.
MAX_ENCODED_BYTES = 8 * 1024 * 1024


class Inventory:
    """The definitions of everything that servers offer, by canonical id."""

    def __init__(
        self,
        servers: Iterable[str],
        mode: Mode,
        *,
        list_: Callable[[str], Awaitable[Offered]],
        keep: Callable[[ServerInventory], Awaitable[object]],
        changed: Callable[[str, frozenset[Kind]], None] = lambda _server, _kinds: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._list = list_
        self._keep = keep
        self._changed = changed
        self._clock = clock
        self._known: dict[str, KnownServer] = {}
        self.summary = Summary()
        # The digest of what the ledger was told, which may fail.
        self._kept: dict[str, str] = {}
        self._listings: dict[str, Listing] = {}
        self._refreshing: dict[str, SingleFlight[None]] = {}
        self._encoded: Lru[tuple[bool, tuple[str, ...]], Fragment] = Lru(MAX_ENCODED_BYTES, _size)
        self.left_out = 0
        """How many definitions were missing from lists so far."""
        self.replace(servers, mode)

    @property
    def listings(self) -> Mapping[str, Listing]:
        """How listing went last, for each server that has been listed or given up on."""
        return dict(self._listings)

    @property
    def settled(self) -> bool:
        """Whether every server has been listed once or given up on."""
        return self._refreshing.keys() <= self._listings.keys()

    @property
    def unlisted(self) -> tuple[str, ...]:
        """The servers that have neither been listed nor given up on."""
        return tuple(sorted(self._refreshing.keys() - self._listings.keys()))

    def knows(self, ref: Ref) -> bool:
        """Say whether a server offered this when it was listed last."""
        return str(ref) in self._known.get(ref.server, UNKNOWN).definitions

    def recall(self, kept: Iterable[ServerInventory]) -> None:
        """Take over which templates servers had, until they are listed: policy judges a URI by all of them."""
        for one in kept:
            if one.server in self._refreshing and one.server not in self._known:
                self._know(one.server, recalled_server(one))

    def replace(self, servers: Iterable[str], mode: Mode) -> None:
        """Serve these servers from now on; what is known of those that stay is kept."""
        wanted = tuple(servers)
        self._front_door = mode is Mode.FRONT_DOOR
        self._refreshing = {name: self._refreshing.get(name) or self._flight(name) for name in wanted}
        for name in self._known.keys() - self._refreshing.keys():
            self._know(name, UNKNOWN)
        for known in (self._known, self._kept, self._listings):
            for name in known.keys() - self._refreshing.keys():
                del known[name]
        self._encoded.clear()

    async def listing(self, ids: tuple[str, ...], view: View) -> Fragment:
        """Return what `fragments` does as the elements of one list, which is encoded anew only when it may differ."""
        key = (self._plain(view), ids)
        known = self._encoded.get(key)
        if known is None:
            found = await self.fragments(ids, view)
            known = joined(found)
            if len(found) == len(ids):
                self._encoded.put(key, known)
        return known

    async def fragments(self, ids: Iterable[str], view: View) -> list[Fragment]:
        """Return the definitions of these tools in this order, under the names they have in that view.

        What is not known is asked for once, briefly; what is not known then is left out and counted.
        """
        wanted = tuple(ids)
        found, missing = self._find(wanted, view)
        if missing and await self._fetch({server_of(id_) for id_ in missing}):
            found, missing = self._find(wanted, view)
        self.left_out += len(missing)
        return found

    async def refresh(self, server: str) -> None:
        """List a server now, together with whoever else asked for that; a failure is noted in `listings`."""
        # A reload may have taken it away between two ticks.
        if server in self._refreshing:
            await self._refreshing[server]()

    async def refresh_all(self) -> None:
        """List every server now, all at the same time."""
        await asyncio.gather(*(refresh() for refresh in list(self._refreshing.values())))

    async def run(self, tick: Callable[[], Awaitable[object]] | None = None) -> None:
        """List every server after each tick, by default each minute, until cancelled."""
        wait = tick or (lambda: asyncio.sleep(REFRESH_SECONDS))
        under_way: set[asyncio.Task[None]] = set()
        try:
            while True:
                await wait()
                # Nobody waits for the slowest: a server still being listed is left alone until the next tick.
                for name in self._refreshing:
                    task = asyncio.create_task(self.refresh(name))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
        finally:
            for task in under_way:
                task.cancel()

    async def close(self) -> None:
        """Stop the listings under way."""
        for refresh in list(self._refreshing.values()):
            await refresh.close()

    def _flight(self, server: str) -> SingleFlight[None]:
        return SingleFlight(lambda: self._refresh(server))

    async def _refresh(self, server: str) -> None:
        try:
            offered = await self._list(server)
        except UpstreamFailed as error:
            self._failed(server, error.why)
            return
        # Beside the loop, like all that takes as long as a server likes.
        digest = await asyncio.to_thread(digest_of, offered)
        if self._known.get(server, UNKNOWN).digest != digest:
            known = await asyncio.to_thread(known_server, server, digest, offered)
            if server in self._refreshing:
                self._put(server, known)
        if server in self._refreshing:
            await self._write(server, digest, offered)
        if server in self._refreshing:
            # After that: whoever takes it for listed goes by what the ledger has.
            self._listings[server] = Listing(len(offered.get(TOOLS.method, ())), None, self._clock())

    def _put(self, server: str, known: KnownServer) -> None:
        """Offer other definitions of a server from now on, and say of which kinds they are others."""
        kinds = known.differs(self._known.get(server, UNKNOWN))
        self._know(server, known)
        self._encoded.clear()
        self._changed(server, kinds)

    def _know(self, server: str, known: KnownServer) -> None:
        self.summary.replace(server, self._known.get(server, UNKNOWN), known)
        self._known[server] = known

    async def _write(self, server: str, digest: str, offered: Offered) -> None:
        if self._kept.get(server) == digest:
            return
        try:
            await self._keep(inventory_of(server, digest, offered, int(self._clock() * 1000)))
        except Unavailable as error:
            # Policy goes on with the inventory before; the next listing tries again.
            LOG.warning("the inventory of %s could not be kept: %s", server, error)
        else:
            self._kept[server] = digest

    def _failed(self, server: str, why: str) -> None:
        before = self._listings.get(server)
        if server in self._refreshing:
            if before is None or before.failure != why:
                LOG.warning("%s could not be listed: it %s", server, why)
            tools = before.tools if before is not None else 0
            self._listings[server] = Listing(tools, why, self._clock())

    def _plain(self, view: View) -> bool:
        return self._front_door or view is View.SERVER

    def _find(self, ids: Sequence[str], view: View) -> tuple[list[Fragment], list[str]]:
        plain = self._plain(view)
        found, missing = [], []
        for id_ in ids:
            known = self._known.get(server_of(id_), UNKNOWN).definitions.get(id_)
            if known is None:
                missing.append(id_)
            else:
                found.append(known.plain if plain else known.flat)
        return found, missing

    async def _fetch(self, servers: set[str]) -> bool:
        """Return whether any of the servers was asked; those asked a moment ago have nothing to add."""
        latest = self._clock() - FETCH_AGAIN_SECONDS
        asked = [
            self._refreshing[name]
            for name in servers & self._refreshing.keys()
            if name not in self._listings or self._listings[name].at < latest
        ]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FETCH_SECONDS):
                await asyncio.gather(*(refresh() for refresh in asked))
        return bool(asked)


def _size(encoded: Fragment) -> int:
    return len(encoded.modern) + (0 if encoded.legacy is encoded.modern else len(encoded.legacy))
