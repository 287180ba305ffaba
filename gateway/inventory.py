"""What the servers offer: the last known definitions, encoded once for each way of listing them.

Servers are listed at start and each minute. While one is down, what it offered last stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import Unavailable, UpstreamFailed
from gateway.facts import ServerInventory
from gateway.ids import Mode, Ref, flat_name
from gateway.lru import Lru
from gateway.mcp.tools import Fragment, Tool, digest_of, fragment, joined
from gateway.model import View
from gateway.single_flight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

LOG = logging.getLogger("portcullis.inventory")
REFRESH_SECONDS = 60.0
# A list waits this long at most for definitions that it lacks, and a server is not asked for them more often.
FETCH_SECONDS = 2.0
FETCH_AGAIN_SECONDS = 5.0
# Whole lists, so that one that is asked for again and again costs the same however many tools are in it.
MAX_ENCODED_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Listing:
    """How listing a server went last: how many tools are known, why it failed (None if it did not), and when.

    `at` is in seconds since the epoch.
    """

    tools: int
    failure: str | None
    at: float


@dataclass(frozen=True, slots=True)
class _Definition:
    plain: Fragment
    flat: Fragment


class Inventory:
    """The definitions of every server's tools, by canonical id."""

    def __init__(
        self,
        servers: Iterable[str],
        mode: Mode,
        *,
        list_tools: Callable[[str], Awaitable[Sequence[Tool]]],
        keep: Callable[[ServerInventory], Awaitable[object]],
        changed: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._list_tools = list_tools
        self._keep = keep
        self._changed = changed
        self._clock = clock
        self._definitions: dict[str, Mapping[str, _Definition]] = {}
        # By digest: what the definitions above are of, and what the ledger was told, which may fail.
        self._defined: dict[str, str] = {}
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

    def names(self, server: str) -> tuple[str, ...]:
        """Return the names of the tools that a server offered last."""
        return tuple(id_.partition("/")[2] for id_ in self._definitions.get(server, {}))

    def replace(self, servers: Iterable[str], mode: Mode) -> None:
        """Serve these servers from now on; what is known of those that stay is kept."""
        wanted = tuple(servers)
        self._front_door = mode is Mode.FRONT_DOOR
        self._refreshing = {name: self._refreshing.get(name) or self._flight(name) for name in wanted}
        for known in (self._definitions, self._defined, self._kept, self._listings):
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
        if missing and await self._fetch({Ref.parse(id_).server for id_ in missing}):
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
            tools = await self._list_tools(server)
        except UpstreamFailed as error:
            self._failed(server, error.why)
            return
        # Beside the loop, like all that takes as long as a server likes.
        digest = await asyncio.to_thread(digest_of, tools)
        if self._defined.get(server) != digest:
            definitions = await asyncio.to_thread(_definitions, server, tools)
            if server in self._refreshing:
                self._definitions[server], self._defined[server] = definitions, digest
                self._encoded.clear()
                self._changed(server)
        if server in self._refreshing:
            await self._write(server, digest, tools)
        if server in self._refreshing:
            # After that: whoever takes it for listed goes by what the ledger has.
            self._listings[server] = Listing(len(tools), None, self._clock())

    async def _write(self, server: str, digest: str, tools: Sequence[Tool]) -> None:
        if self._kept.get(server) == digest:
            return
        names = tuple(sorted(tool.name for tool in tools))
        try:
            await self._keep(ServerInventory(server, digest, names, int(self._clock() * 1000)))
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
            self._listings[server] = Listing(len(self._definitions.get(server, ())), why, self._clock())

    def _plain(self, view: View) -> bool:
        return self._front_door or view is View.SERVER

    def _find(self, ids: Sequence[str], view: View) -> tuple[list[Fragment], list[str]]:
        plain = self._plain(view)
        found, missing = [], []
        for id_ in ids:
            server, _, _ = id_.partition("/")
            known = self._definitions.get(server, {}).get(id_)
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


def _definitions(server: str, tools: Iterable[Tool]) -> Mapping[str, _Definition]:
    return {f"{server}/{tool.name}": _definition(server, tool) for tool in tools}


def _definition(server: str, tool: Tool) -> _Definition:
    plain = fragment(tool.definition, tool.name)
    return _Definition(plain, fragment(tool.definition, flat_name(Ref.of_tool(server, tool.name), Mode.EGRESS)))


def _size(encoded: Fragment) -> int:
    return len(encoded.modern) + (0 if encoded.legacy is encoded.modern else len(encoded.legacy))
