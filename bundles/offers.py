"""What one tenant is offered, and which lists narrow it: the operands of its decisions, each under its handle."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bundles.backing import deny_pattern, flat_document, homes
from bundles.catalog import SECTIONS, Ids, Interned, handle_of
from bundles.contests import of_names, read_through
from gateway.ids import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from bundles.backing import Backing, Homes
    from bundles.catalog import Names
    from bundles.contests import Contest
    from gateway.config.servers import MemberEntry
    from gateway.config.tenants import Offer

    Entries = Mapping[str, tuple[MemberEntry | Offer, ...]]


@dataclass(slots=True)
class Part:
    """What the data says of one tenant, but for what its definition says: its shares by kind, and its own flat names.

    `sets`, `offers` and `patterns` are what the handles in the shares stand for; `contests` are the names that it
    misses, because more than one server stands for them.
    """

    shares: dict[str, dict[str, str]] = field(default_factory=dict)
    own: dict[str, dict[str, Any]] = field(default_factory=dict)
    sets: dict[str, Ids] = field(default_factory=dict)
    offers: dict[str, dict[str, str]] = field(default_factory=dict)
    patterns: dict[str, str] = field(default_factory=dict)
    contests: list[Contest] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Share:
    """What one server is to one tenant, of one kind; `allow` is None where no list says what is allowed."""

    backing: Backing
    allow: int | None = None
    deny: int = 0
    denied: tuple[str, ...] = ()


class Offers:
    """Works out what tenants are offered of these shared servers; what two of them have in common is done once."""

    def __init__(self, shared: Mapping[str, Backing]) -> None:
        self.shared = shared
        self.homes = homes(shared.values())
        self._interned = Interned()
        backings = tuple(shared.values())
        self._contests = _contests(self.homes)
        self._contests[Kind.RESOURCE] += read_through(backings, backings)

    @property
    def contested(self) -> dict[str, str]:
        """The shared ids whose flat name another shared server has too, with that name."""
        return {
            id_: name
            for names in self.homes.values()
            for name, ids in names.items()
            if len(ids) > 1
            for id_ in ids.values()
        }

    def part(self, entries: Entries, own: Sequence[Backing] = ()) -> Part:
        """Return what a tenant is offered: shared servers by its entries, and the servers that it brings along."""
        offered = [(self.shared[server], narrowing) for server, narrowing in sorted(entries.items())]
        brought = self._brought(own, entries) if own else {}
        contests = _own_contests(own, brought, [backing for backing, _ in offered]) if own else {}
        part = Part(own=flat_document(brought))
        for kind in _offered_kinds([backing for backing, _ in offered], own):
            shares = [_share(backing, narrowing, kind) for backing, narrowing in offered]
            shares += [_Share(backing) for backing in own]
            part.shares[kind.value] = self._document(part, kind, shares, contests.get(kind, ()))
        return part

    def _brought(self, own: Sequence[Backing], entries: Entries) -> Homes:
        """Return the flat names of a tenant's own servers, each with whoever else it is offered has that name."""

        def shared(section: str, name: str) -> dict[str, str]:
            ids = self.homes[section].get(name, {})
            return {server: id_ for server, id_ in ids.items() if server in entries}

        return {
            section: {name: {**shared(section, name), **ids} for name, ids in names.items()}
            for section, names in homes(own).items()
            if names
        }

    def _document(
        self, part: Part, kind: Kind, shares: Sequence[_Share], contests: Iterable[Contest]
    ) -> dict[str, str]:
        def kept(handle: str) -> str:
            part.sets[handle] = self._interned.sets[handle]
            return handle

        def masks(of: Callable[[_Share], int | None]) -> Iterator[tuple[Names, int]]:
            return ((one.backing.names[kind], mask) for one in shares if (mask := of(one)) is not None)

        offer = {one.backing.key: "all" if one.allow is None else "listed" for one in shares}
        handle = handle_of("\n".join(f"{server} {how}" for server, how in offer.items()))
        part.offers[handle] = offer
        lost = [found for one in (*self._contests[kind], *contests) if (found := one.among(offer))]
        part.contests += lost
        document = {
            "offer": handle,
            "deny": kept(self._interned.put(masks(lambda one: one.deny))),
            "drop": kept(self._interned.put_ids(id_ for one in lost for id_ in one.at_stake)),
        }
        if "listed" in offer.values():
            document["allow"] = kept(self._interned.put(masks(lambda one: one.allow)))
        if pattern := deny_pattern([(one.backing.key, one.denied) for one in shares]):
            document["deny_patterns"] = pattern[0]
            part.patterns[pattern[0]] = pattern[1]
        return document


def _offered_kinds(shared: Sequence[Backing], own: Sequence[Backing]) -> list[Kind]:
    """Return the kinds of which there is anything at all."""
    return [kind for kind in SECTIONS if any(one.offered[kind] for one in (*shared, *own))]


def _contests(table: Homes) -> dict[Kind, list[Contest]]:
    return {
        kind: [one for section in sections for one in of_names(table.get(section, {}))]
        for kind, sections in SECTIONS.items()
    }


def _own_contests(own: Sequence[Backing], brought: Homes, shared: Sequence[Backing]) -> dict[Kind, list[Contest]]:
    """Return the contests that a tenant's own servers have among themselves and with the shared ones."""
    contests = _contests(brought)
    contests[Kind.RESOURCE] += [*read_through(own, [*own, *shared]), *read_through(shared, own)]
    return contests


def _share(backing: Backing, narrowing: Iterable[MemberEntry | Offer], kind: Kind) -> _Share:
    """Return what is left of a server where every entry narrows it."""
    names, offered = backing.names[kind], backing.offered[kind]
    allow: int | None = None
    if not offered:
        return _Share(backing)
    deny = 0
    denied: tuple[str, ...] = ()
    for entry in narrowing:
        lists = entry.lists(kind)
        if lists.allow_list:
            allow = (offered if allow is None else allow) & names.hits(lists.allow_list)
        if lists.deny_list:
            deny |= offered & names.hits(lists.deny_list)
            denied += lists.deny_list
    return _Share(backing, allow, deny, denied if kind is Kind.RESOURCE and backing.templates else ())
