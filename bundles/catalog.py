"""Sets of tools: bit masks over a server's sorted names while they are computed, interned objects once written.

Ten thousand tenants that share a list then share one set, and a glob meets a server's names once.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from bundles.globs import Glob
from gateway.model import TOOL_NAME, Mode, flat_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Ids = dict[str, bool]


class Catalog:
    """The projected names of one server, and which of them a list of patterns hits; every answer is kept."""

    def __init__(self, server: str, names: Iterable[str], mode: Mode) -> None:
        self.server = server
        listed = sorted(set(names))
        self.names = tuple(name for name in listed if _projects(name) and _projects(flat_name(server, name, mode)))
        kept = set(self.names)
        self.unprojected = tuple(f"{server}/{name}" for name in listed if name not in kept)
        self.everything = (1 << len(self.names)) - 1
        self._ids = tuple(f"{server}/{name}" for name in self.names)
        self._bit = {name: 1 << at for at, name in enumerate(self.names)}
        self._patterns: dict[str, int] = {}

    def hits(self, patterns: Iterable[str]) -> int:
        """Return the mask of names that any of the patterns admits."""
        mask = 0
        for pattern in patterns:
            hit = self._patterns.get(pattern)
            if hit is None:
                hit = self._patterns[pattern] = self._hit(pattern)
            mask |= hit
        return mask

    def allowed(self, patterns: Sequence[str]) -> int:
        """Return what an allow list admits; an empty one admits everything."""
        return self.hits(patterns) if patterns else self.everything

    def ids(self, mask: int) -> list[str]:
        """Return the canonical ids of a mask, sorted."""
        ids = []
        while mask:
            lowest = mask & -mask
            ids.append(self._ids[lowest.bit_length() - 1])
            mask ^= lowest
        return ids

    def _hit(self, pattern: str) -> int:
        glob = Glob(pattern)
        if (exact := glob.literal) is not None:
            return self._bit.get(exact, 0)
        return sum(bit for name, bit in self._bit.items() if glob.matches(name))


class Interned:
    """Sets of ids under the first 16 hex digits of the SHA-256 of their sorted members."""

    def __init__(self) -> None:
        self.sets: dict[str, Ids] = {}
        self._known: dict[tuple[tuple[str, int], ...], str] = {}

    def put(self, parts: Sequence[tuple[Catalog, int]]) -> str:
        """Intern the union of parts of several servers and return its name."""
        key = tuple((catalog.server, mask) for catalog, mask in parts if mask)
        name = self._known.get(key)
        if name is None:
            ids = sorted(id_ for catalog, mask in parts for id_ in catalog.ids(mask))
            name = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]
            self._known[key] = name
            self.sets[name] = dict.fromkeys(ids, True)
        return name


def _projects(name: str) -> bool:
    return TOOL_NAME.fullmatch(name) is not None
