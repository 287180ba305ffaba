"""Room for processes: so many in all, so many for one owner. Where there is none, the longest idle one makes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.upstream.owner import Owner


class NoRoom(GatewayError):
    """As many processes run as may, and each of them is at work."""


@dataclass(eq=False, slots=True)
class Slot:
    """The place of one process; `idle_since` is None while it must not be ended, `end` ends it and frees the place."""

    owner: Owner | None
    idle_since: float | None = None
    end: Callable[[], Awaitable[None]] | None = None


class Slots:
    """All processes of this gateway, whichever server they are of. One without an owner counts in all alone."""

    def __init__(self, most: int = 64, most_of_one: int = 16) -> None:
        self._slots: set[Slot] = set()
        self.resize(most, most_of_one)

    def __len__(self) -> int:
        return len(self._slots)

    def resize(self, most: int, most_of_one: int) -> None:
        """Have room for so many from now on; those above it that run go on."""
        self._most = most
        self._most_of_one = most_of_one

    async def take(self, owner: Owner | None) -> Slot:
        """Return a place for a process, after ending idle ones where that is needed; raises NoRoom."""
        while crowd := self._in_the_way(owner):
            idle = [slot for slot in crowd if slot.idle_since is not None and slot.end is not None]
            if not idle:
                raise NoRoom
            longest = min(idle, key=lambda slot: slot.idle_since or 0.0)
            # Nobody else is to wait for this very one, and nobody to be given its process.
            longest.idle_since = None
            assert longest.end is not None
            await longest.end()
        slot = Slot(owner)
        self._slots.add(slot)
        return slot

    def free(self, slot: Slot) -> None:
        """Give a place back, when its process has gone."""
        self._slots.discard(slot)

    def _in_the_way(self, owner: Owner | None) -> list[Slot]:
        """Return the processes of which one has to end first, none where there is room."""
        own = [slot for slot in self._slots if slot.owner == owner] if owner is not None else []
        if len(own) >= self._most_of_one:
            return own
        return list(self._slots) if len(self._slots) >= self._most else []
