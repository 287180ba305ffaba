"""What tenant tokens may see at most: their globs over canonical ids, expanded over the inventory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bundles.globs import META, Glob
from gateway.config.membership import split_key
from gateway.keys import scope_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bundles.catalog import Ids
    from gateway.facts import ServerInventory
    from gateway.model import Credential


def token_scopes(credentials: Iterable[Credential], inventory: Iterable[ServerInventory]) -> dict[str, Ids]:
    """Return the ids that each list of globs admits, under its handle.

    Of a tenant's own servers only those count whose tenant has a token with these globs; nobody else sees them.
    """
    tenants: dict[tuple[str, ...], set[str | None]] = {}
    for credential in credentials:
        if credential.tools and credential.revoked_at is None:
            tenants.setdefault(tuple(sorted(set(credential.tools))), {None}).add(credential.tenant)
    if not tenants:
        return {}
    listed = {one.server: one for one in inventory}
    return {scope_of(globs): _admitted(globs, whose, listed) for globs, whose in tenants.items()}


def _admitted(globs: tuple[str, ...], whose: set[str | None], listed: Mapping[str, ServerInventory]) -> Ids:
    ids: set[str] = set()
    for glob in map(Glob, globs):
        for one in _servers(glob, whose, listed):
            ids.update(id_ for id_ in map(str, one.refs) if glob.matches(id_))
    return dict.fromkeys(sorted(ids), True)


def _servers(glob: Glob, whose: set[str | None], listed: Mapping[str, ServerInventory]) -> Iterator[ServerInventory]:
    """Yield the servers that the glob may be about: the one that it names, where it names one."""
    end = next((at for at, char in enumerate(glob.pattern) if char in "/#"), 0)
    named = glob.pattern[:end]
    if named and META.isdisjoint(named):
        found = listed.get(named)
        candidates: Iterable[ServerInventory] = (found,) if found else ()
    else:
        candidates = listed.values()
    yield from (one for one in candidates if split_key(one.server)[0] in whose)
