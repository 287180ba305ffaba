"""What one server offers to anybody at all: its names after its own lists, and what no template of it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bundles.catalog import SECTIONS, Names, bits, catalog, handle_of
from bundles.globs import Glob, literal_regex
from gateway.facts import ServerInventory
from gateway.ids import Kind, Ref
from gateway.templates import Template

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.config.servers import Backend
    from gateway.ids import Mode

# Of a flat name, by section, the id that each server has for it.
Homes = dict[str, dict[str, dict[str, str]]]
Pattern = tuple[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Backing:
    """One server. `offered` are masks over `names`, after the lists that hold for everybody.

    `ids` are what that leaves, by section, and `templates` the templates among them by id; `registered` are all URIs
    that it has, offered or not. `patterns` say which URIs a list denies, as expressions for RE2 under their handles;
    `document` is what policy is told of the server besides its ids.
    """

    key: str
    names: Mapping[Kind, Names]
    offered: Mapping[Kind, int]
    ids: Mapping[str, Mapping[str, bool]]
    patterns: Mapping[str, str]
    document: Mapping[str, Any]
    templates: Mapping[str, Template]
    registered: frozenset[str]

    @property
    def resources(self) -> Mapping[str, str]:
        """The URIs that it offers, with their ids."""
        names = self.names[Kind.RESOURCE]
        return {names.flat[at]: names.ids[at] for at in bits(self.offered[Kind.RESOURCE] & names.sections["resource"])}

    def reads(self, uri: str) -> str | None:
        """Return the id of an offered template that reads a URI; none reads what the server itself has registered."""
        if uri in self.registered:
            return None
        return next((id_ for id_, template in self.templates.items() if template.matches(uri)), None)


class Backings:
    """Works them out again and again; a server of which nothing changed stays the same object."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[Any, ...], Backing]] = {}
        self._used: dict[str, tuple[tuple[Any, ...], Backing]] = {}

    def begin(self) -> None:
        """Forget servers that were not asked for since the last time this was called."""
        self._known, self._used = self._used, {}

    def get(self, key: str, server: Backend, listed: ServerInventory | None, mode: Mode, owner: str | None) -> Backing:
        """Return what a server offers; one that was never listed offers nothing."""
        inventory = listed or ServerInventory(key, "", (), 0)
        names = (inventory.tools, inventory.prompts, inventory.resources, inventory.templates)
        facts = (mode, owner, names, server.tools, server.access)
        kept = self._known.get(key) or self._used.get(key)
        found = kept if kept and kept[0] == facts else (facts, _backing(server, inventory, mode, owner))
        self._used[key] = found
        return found[1]


def deny_pattern(denied: Sequence[tuple[str, Iterable[str]]]) -> Pattern | None:
    """Return a handle, and an expression for RE2 that matches the ids of the URIs which lists of servers deny."""
    parts = []
    for server, patterns in denied:
        alternatives = "|".join(Glob(pattern).regex for pattern in sorted(set(patterns)))
        if alternatives:
            parts.append(f"{literal_regex(str(Ref(server, Kind.RESOURCE, '')))}(?:{alternatives})")
    if not parts:
        return None
    text = f"^(?s:{'|'.join(parts)})$"
    return handle_of(text), text


def homes(backings: Iterable[Backing]) -> Homes:
    """Return which ids each flat name may mean."""
    table: Homes = {section: {} for sections in SECTIONS.values() for section in sections}
    for backing in backings:
        for kind, sections in SECTIONS.items():
            names = backing.names[kind]
            for section in sections:
                for at in bits(backing.offered[kind] & names.sections[section]):
                    table[section].setdefault(names.flat[at], {})[backing.key] = names.ids[at]
    return table


def flat_document(table: Homes) -> dict[str, dict[str, Any]]:
    """Return the table as policy reads it: a name of one server with its id, a name of several with its rivals."""
    return {section: {name: _record(ids) for name, ids in names.items()} for section, names in table.items()}


def _record(ids: Mapping[str, str]) -> dict[str, Any]:
    if len(ids) > 1:
        return {"rivals": dict(ids)}
    server, id_ = next(iter(ids.items()))
    return {"server": server, "id": id_}


def _backing(server: Backend, inventory: ServerInventory, mode: Mode, owner: str | None) -> Backing:
    names = catalog(inventory, mode)
    offered = {kind: names[kind].passes(server.lists(kind)) for kind in SECTIONS}
    document: dict[str, Any] = {} if owner is None else {"owner": owner}
    ids = _ids(names, offered)
    patterns = {}
    if "template" in ids:
        if denied := deny_pattern([(inventory.server, server.lists(Kind.RESOURCE).deny_list)]):
            document["deny_patterns"], patterns = denied[0], dict([denied])
        own = {str(Ref(inventory.server, Kind.RESOURCE, uri)) for uri in inventory.resources}
        if withheld := own - ids.get("resource", {}).keys():
            document["withheld"] = dict.fromkeys(sorted(withheld), True)
    return Backing(
        inventory.server,
        names,
        offered,
        ids,
        patterns,
        document,
        templates={id_: Template(Ref.parse(id_).name) for id_ in ids.get("template", ())},
        registered=frozenset(inventory.resources),
    )


def _ids(names: Mapping[Kind, Names], offered: Mapping[Kind, int]) -> dict[str, dict[str, bool]]:
    """Return the offered ids; a section of which nothing is offered is left out."""
    found = {}
    for kind, sections in SECTIONS.items():
        for section in sections if offered[kind] else ():
            if mask := offered[kind] & names[kind].sections[section]:
                found[section] = dict.fromkeys(names[kind].of(mask), True)
    return found
