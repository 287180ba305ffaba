"""What decisions come to for those who go on: what is admitted, what is seen, and the same question as of now."""

from __future__ import annotations

import time
from dataclasses import replace
from hashlib import blake2b
from sys import intern
from typing import TYPE_CHECKING, NamedTuple

from gateway.errors import NotPermitted, NotVisible
from gateway.ids import Kind, server_of
from gateway.model import RequestInfo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.ids import Ref
    from gateway.model import CallDecision, ListDecision, Question


class Sight(NamedTuple):
    """What a caller sees, in little room: the servers that something is of, and a digest of all that there is of each
    kind.

    `revision` is that of the oldest decision that said so, `config` the configuration by which it was made; `allow` is
    whether they let the caller list at all.
    """

    revision: int
    servers: frozenset[str]
    digests: tuple[tuple[Kind, bytes], ...]
    config: str = ""
    allow: bool = True

    @classmethod
    def of(cls, decisions: Sequence[tuple[Kind, ListDecision]]) -> Sight:
        """Return what decisions, at least one, let their caller see; there may be several of a kind."""
        ids: dict[Kind, list[str]] = {kind: [] for kind in Kind}
        for kind, decision in decisions:
            ids[kind] += decision.ids
        servers = frozenset(intern(server_of(id_)) for some in ids.values() for id_ in some)
        digests = tuple((kind, _digest(some)) for kind, some in ids.items() if some)
        oldest = min((decision for _, decision in decisions), key=lambda one: one.revision)
        allow = all(decision.allow for _, decision in decisions)
        return cls(oldest.revision, servers, digests, intern(oldest.config), allow)

    def differs(self, other: Sight) -> frozenset[Kind]:
        """Return the kinds of which something else is seen than before."""
        ours, theirs = dict(self.digests), dict(other.digests)
        return frozenset(kind for kind in Kind if ours.get(kind) != theirs.get(kind))


def admitted(decision: CallDecision, ref: Ref | None = None) -> Ref:
    """Return what a decision admits, and where `ref` is given, that it is still the same thing.

    Raises NotVisible, NotPermitted.
    """
    if not decision.visible or decision.ref is None or ref not in (None, decision.ref):
        raise NotVisible(decision.reasons)
    if not decision.allow:
        raise NotPermitted(decision.reasons)
    return decision.ref


def _digest(ids: list[str]) -> bytes:
    return blake2b("\0".join(ids).encode(), digest_size=16).digest()


def at_present(question: Question) -> Question:
    """Return the same question as of now."""
    request = question.request
    return replace(question, request=RequestInfo(request.id, request.ip, int(time.time())))
