"""What decisions come to for those who go on: what is admitted, what is seen, and the same question as of now."""

from __future__ import annotations

import time
from dataclasses import replace
from hashlib import blake2b
from sys import intern
from typing import TYPE_CHECKING, NamedTuple

from gateway.errors import NotPermitted, NotVisible
from gateway.model import RequestInfo

if TYPE_CHECKING:
    from gateway.ids import Ref
    from gateway.model import CallDecision, ListDecision, Question


class Sight(NamedTuple):
    """What a caller sees, in little room: the servers that something is of, and a digest of all that there is.

    `revision` is that of the decision that said so, `config` the configuration by which it was made; `allow` is whether
    it let the caller list at all.
    """

    revision: int
    servers: frozenset[str]
    digest: bytes
    config: str = ""
    allow: bool = True

    @classmethod
    def of(cls, decision: ListDecision) -> Sight:
        """Return what a decision lets its caller see."""
        servers = frozenset(intern(id_.partition("/")[0]) for id_ in decision.ids)
        digest = blake2b("\0".join(decision.ids).encode(), digest_size=16).digest()
        return cls(decision.revision, servers, digest, intern(decision.config), decision.allow)


def admitted(decision: CallDecision, ref: Ref | None = None) -> Ref:
    """Return what a decision admits, and where `ref` is given, that it is still the same thing.

    Raises NotVisible, NotPermitted.
    """
    if not decision.visible or decision.ref is None or ref not in (None, decision.ref):
        raise NotVisible(decision.reasons)
    if not decision.allow:
        raise NotPermitted(decision.reasons)
    return decision.ref


def at_present(question: Question) -> Question:
    """Return the same question as of now."""
    request = question.request
    return replace(question, request=RequestInfo(request.id, request.ip, int(time.time())))
