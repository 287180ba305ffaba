"""The servers of each configuration that decisions are still made by, so that a call goes where its decision means.

The gateway has another configuration in force a moment before OPA decides by it, or after. A decision says by which it
was made, and its call goes to the servers of that one: what was admitted by the old files never meets an endpoint or a
secret of the new ones. A configuration that nothing was decided by for a while is forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Reloads wait for OPA to follow, so that more than a few are never needed; each costs a table of names.
MOST = 16

S = TypeVar("S")


@dataclass(slots=True)
class _Generation(Generic[S]):
    servers: Mapping[str, S]
    used: bool = field(default=False)


class Generations(Generic[S]):
    """Tables of servers by the configuration they are of, the newest last; one event loop's."""

    def __init__(self, config: str, servers: Mapping[str, S]) -> None:
        self._newest = config
        self._servers = servers
        self._before: dict[str, _Generation[S]] = {}

    @property
    def newest(self) -> Mapping[str, S]:
        """The servers of the configuration in force."""
        return self._servers

    @property
    def every(self) -> Iterator[S]:
        """Each server of any generation, once."""
        tables = (self._servers, *(one.servers for one in self._before.values()))
        yield from {id(server): server for table in tables for server in table.values()}.values()

    def knows(self, config: str) -> bool:
        """Say whether the servers of this configuration are here."""
        return config == self._newest or config in self._before

    def find(self, config: str, name: str) -> S | None:
        """Return a server of that configuration, of the newest where it is not known; None where it has none."""
        if config != self._newest and (one := self._before.get(config)) is not None:
            one.used = True
            return one.servers.get(name)
        return self._servers.get(name)

    def like(self, name: str) -> Iterator[S]:
        """Yield the servers of this name, the newest first."""
        tables = (self._servers, *(one.servers for one in reversed(self._before.values())))
        yield from (table[name] for table in tables if name in table)

    def put(self, config: str, servers: Mapping[str, S]) -> list[S]:
        """Put another configuration in force, and return the servers that are in none any more."""
        kept = list(self.every)
        if config != self._newest:
            self._before[self._newest] = _Generation(self._servers, used=True)
        self._before.pop(config, None)
        self._newest, self._servers = config, servers
        while len(self._before) > MOST:
            del self._before[next(iter(self._before))]
        return self._without(kept)

    def forget_unused(self) -> list[S]:
        """Forget what no decision was made by since the last time, and return the servers that are in none any more."""
        kept = list(self.every)
        for config, one in list(self._before.items()):
            if one.used:
                one.used = False
            else:
                del self._before[config]
        return self._without(kept)

    def _without(self, before: list[S]) -> list[S]:
        left = {id(server) for server in self.every}
        return [server for server in before if id(server) not in left]
