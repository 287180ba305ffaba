"""Names that more than one server stands for: which ids lose their name where several of these servers are offered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from bundles.backing import Backing


@dataclass(frozen=True, slots=True)
class Contest:
    """A flat name, by each server that stands for it and the id there, and which of these ids are lost to it."""

    name: str
    rivals: Mapping[str, str]
    at_stake: tuple[str, ...]

    def among(self, offered: Collection[str]) -> Contest | None:
        """Return what is left of it where these servers are offered together; None where no name is contested."""
        here = {server: id_ for server, id_ in self.rivals.items() if server in offered}
        if len(here) < 2:
            return None
        ids = here.values()
        return Contest(self.name, here, tuple(id_ for id_ in self.at_stake if id_ in ids))


def of_names(names: Mapping[str, Mapping[str, str]]) -> list[Contest]:
    """Return the contests for names that several servers have: everybody loses."""
    return [Contest(name, ids, tuple(ids.values())) for name, ids in names.items() if len(ids) > 1]


def read_through(readers: Iterable[Backing], backings: Sequence[Backing]) -> list[Contest]:
    """Return where a template of one server reads what another server has registered by its own URI.

    A call could not tell whose it is, so the list leaves it out, too. The template itself is at no stake.
    """
    return [
        Contest(uri, {reader.key: template, backing.key: id_}, (id_,))
        for reader in readers
        if reader.templates
        for backing in backings
        if backing is not reader
        for uri, id_ in backing.resources.items()
        if (template := reader.reads(uri)) is not None
    ]
