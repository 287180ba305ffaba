"""What a tenant is offered as far as the files go, whether or not a server lists it now whoever has withdrawn it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bundles.globs import Glob
from gateway.config import Membership
from gateway.config.membership import split_key
from gateway.ids import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.config import Config
    from gateway.config.lists import Lists
    from gateway.ids import Ref


def reach(config: Config) -> Callable[[str, Ref], bool]:
    """Return what says whether every list on the way to a tenant lets a tool, prompt or resource through."""
    membership = Membership(config)
    everybody = config.tool_access.mode is Mode.EGRESS

    def lists(tenant: str, ref: Ref) -> list[Lists] | None:
        """Return the lists on the way, None where the tenant is not offered the server."""
        owner, id_ = split_key(ref.server)
        if owner is not None:
            brought = membership.own(tenant).get(id_) if owner == tenant else None
            return None if brought is None else [brought.lists(ref.kind)]
        server, entries = config.mcp_servers.get(id_), membership.offered(tenant).get(id_)
        if server is None or (entries is None and not everybody):
            return None
        return [server.lists(ref.kind), *(entry.lists(ref.kind) for entry in entries or ())]

    def reaches(tenant: str, ref: Ref) -> bool:
        on_the_way = lists(tenant, ref)
        return on_the_way is not None and all(_passes(one, ref.name) for one in on_the_way)

    return reaches


def _passes(lists: Lists, name: str) -> bool:
    allowed = not lists.allow_list or _matches(lists.allow_list, name)
    return allowed and not _matches(lists.deny_list, name)


def _matches(patterns: Iterable[str], name: str) -> bool:
    return any(Glob(pattern).matches(name) for pattern in patterns)
