"""Sets of names: bit masks over a server's sorted names while they are computed, interned objects once written.

Ten thousand tenants that share a list then share one set, and a glob meets a server's names once.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from bundles.globs import Glob
from gateway.ids import PROMPT_NAME, RESOURCE_TEMPLATE, RESOURCE_URI, TOOL_NAME, Kind, Mode, Ref, flat_name

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Mapping

    from gateway.config.lists import Lists
    from gateway.facts import ServerInventory

Ids = dict[str, bool]
# What a server offers, by the sections of its ids; templates are resources that stand apart.
SECTIONS: Mapping[Kind, tuple[str, ...]] = {
    Kind.TOOL: ("tool",),
    Kind.PROMPT: ("prompt",),
    Kind.RESOURCE: ("resource", "template"),
}
_SHAPES: Mapping[str, re.Pattern[str]] = {
    "tool": TOOL_NAME,
    "prompt": PROMPT_NAME,
    "resource": RESOURCE_URI,
    "template": RESOURCE_TEMPLATE,
}


class Names:
    """The projected names of one kind that one server has, and which of them a list of patterns hits.

    Every answer is kept. `flat` are the names at an endpoint of several servers, `unprojected` ids that no agent sees.
    """

    def __init__(self, server: str, kind: Kind, listed: Mapping[str, Iterable[str]], mode: Mode) -> None:
        found = sorted((name, section) for section in SECTIONS[kind] for name in set(listed[section]))
        shown = [(name, section) for name, section in found if _projects(Ref(server, kind, name), section, mode)]
        hidden = [name for name, _ in sorted(set(found).difference(shown))]
        self.server = server
        self.kind = kind
        refs = [Ref(server, kind, name) for name, _ in shown]
        self.ids = tuple(map(str, refs))
        self.flat = tuple(flat_name(ref, mode) for ref in refs)
        self.everything = (1 << len(shown)) - 1
        self.sections = {
            section: sum(1 << at for at, (_, of) in enumerate(shown) if of == section) for section in SECTIONS[kind]
        }
        self.unprojected = tuple(str(Ref(server, kind, name)) for name in hidden)
        self._bit = {ref.name: 1 << at for at, ref in enumerate(refs)}
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

    def passes(self, lists: Lists) -> int:
        """Return what lists let through: deny beats allow, and an empty allow list admits everything."""
        allowed = self.hits(lists.allow_list) if lists.allow_list else self.everything
        return allowed & ~self.hits(lists.deny_list)

    def of(self, mask: int) -> list[str]:
        """Return the canonical ids of a mask, sorted by name."""
        return [self.ids[at] for at in bits(mask)]

    def _hit(self, pattern: str) -> int:
        glob = Glob(pattern)
        if (exact := glob.literal) is not None:
            return self._bit.get(exact, 0)
        return sum(bit for name, bit in self._bit.items() if glob.matches(name))


class Interned:
    """Objects under the first 16 hex digits of the SHA-256 of what they hold; equal ones are kept once."""

    def __init__(self) -> None:
        self.sets: dict[str, Ids] = {}
        self._known: dict[tuple[tuple[Names, int], ...], str] = {}

    def put(self, parts: Iterable[tuple[Names, int]]) -> str:
        """Keep the union of parts of several servers and return its handle."""
        key = tuple((names, mask) for names, mask in parts if mask)
        handle = self._known.get(key)
        if handle is None:
            handle = self._known[key] = self.put_ids(id_ for names, mask in key for id_ in names.of(mask))
        return handle

    def put_ids(self, ids: Iterable[str]) -> str:
        """Keep a set of ids and return its handle."""
        members = sorted(set(ids))
        handle = handle_of("\n".join(members))
        if handle not in self.sets:
            self.sets[handle] = dict.fromkeys(members, True)
        return handle


def catalog(inventory: ServerInventory, mode: Mode) -> dict[Kind, Names]:
    """Return the names of each kind that a server has."""
    listed = {
        "tool": inventory.tools,
        "prompt": inventory.prompts,
        "resource": inventory.resources,
        "template": inventory.templates,
    }
    return {kind: Names(inventory.server, kind, listed, mode) for kind in SECTIONS}


def handle_of(text: str) -> str:
    """Return the handle of what a text stands for."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def bits(mask: int) -> list[int]:
    """Return which bits of a mask are set, the lowest first."""
    found = []
    while mask:
        lowest = mask & -mask
        found.append(lowest.bit_length() - 1)
        mask ^= lowest
    return found


def _projects(ref: Ref, section: str, mode: Mode) -> bool:
    shape = _SHAPES[section]
    return bool(shape.fullmatch(ref.name)) and bool(shape.fullmatch(flat_name(ref, mode)))
