"""The replicas that count: gateway+OPA pairs known by the tokens with which their OPAs poll this sync, or another."""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bundles.elsewhere import LEASE_SECONDS, RENEWAL_SECONDS, Elsewhere

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from gateway.facts import Acknowledgement, Replica

MAX_ERROR_CHARACTERS = 500


@dataclass(slots=True)
class Presence:
    """What is known of one replica: by bundle how many polls it holds, how often it has polled, what went wrong there.

    `seen` is when a poll last began or ended, in seconds of the clock that `Replicas` was given.
    """

    seen: float
    polls: Counter[str] = field(default_factory=Counter)
    polled: Counter[str] = field(default_factory=Counter)
    errors: dict[str, str] = field(default_factory=dict)


class Replicas:
    """`clock` counts seconds monotonically, `sync` is what this sync calls its own life.

    After `leaves_after` seconds of silence a replica counts no more; None: it counts until the ledger forgets it.
    While this sync is `mute`, which cannot tell others what it hears, those may be silent for the same reason.
    A `resident` is one that no ledger knows; a sync that has one is its alone, and knows no other.
    """

    def __init__(self, clock: Callable[[], float], sync: str, resident: Replica | None = None) -> None:
        self._resident = resident
        self.leaves_after: float | None = None
        self.mute = False
        self.elsewhere = Elsewhere(sync, clock)
        self.clock = clock
        self._tokens: dict[str, str] = {}
        self._presence: dict[str, Presence] = {}

    @property
    def names(self) -> set[str]:
        """Every replica that the ledger knows, silent ones included."""
        return set(self._tokens)

    @property
    def others(self) -> bool:
        """Whether there may be other syncs: one was heard of, or there is a replica that does not poll this one."""
        if self._resident is not None:
            return False
        return self.elsewhere.met or not all(map(self.polls_here, self._tokens))

    def replace(self, replicas: Sequence[Replica]) -> set[str]:
        """Know these replicas and no others; return the names of those that are gone, or whose name another has."""
        known = replicas if self._resident is None else (self._resident,)
        tokens = {replica.name: replica.token_hash for replica in known}
        gone = {name for name, token in self._tokens.items() if tokens.get(name) != token}
        kept = {name: presence for name, presence in self._presence.items() if name not in gone}
        self._tokens = tokens
        self._presence = {name: kept.get(name) or Presence(self.clock()) for name in tokens}
        return gone

    def polls_here(self, name: str) -> bool:
        """Say whether a replica polls this sync, or did a moment ago."""
        presence = self._presence[name]
        return bool(presence.polled) and self._silence(presence) <= RENEWAL_SECONDS

    def token_hash(self, name: str) -> str:
        """Return the SHA-256 of a replica's token."""
        return self._tokens[name]

    def known_here(self, name: str) -> bool:
        """Say whether what this sync knows of a replica is the newest; if not, another one has heard it since."""
        heard, presence = self.elsewhere.heard(name), self._presence[name]
        return heard is None or self.polls_here(name) or (bool(presence.polled) and heard < presence.seen)

    def said_elsewhere(self, name: str) -> Acknowledgement | None:
        """Return what another sync says now of a replica that is not known here, None where none says anything."""
        return None if self.known_here(name) else self.elsewhere.of(name, self._tokens[name])

    def counted(self) -> list[str]:
        """Return the replicas that an acknowledgement waits for, sorted."""
        return sorted(name for name in self._presence if not self._left(name))

    def of_token(self, token: str) -> str | None:
        """Return whose token this is; every hash is compared, so the time taken tells nothing."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
        found = [name for name, known in self._tokens.items() if hmac.compare_digest(digest, known)]
        return found[0] if found else None

    @contextmanager
    def polling(self, replica: str, bundle: str) -> Iterator[None]:
        """Mark a poll as held."""
        presence = self._presence[replica]
        presence.seen = self.clock()
        presence.polls[bundle] += 1
        presence.polled[bundle] += 1
        try:
            yield
        finally:
            presence.polls[bundle] -= 1
            presence.seen = self.clock()

    def reported(self, replica: str, status: Mapping[str, Any]) -> dict[str, str]:
        """Keep the error texts of a status post of OPA's, by bundle, and return those that are new."""
        presence = self._presence.get(replica) or Presence(self.clock())
        bundles = status.get("bundles")
        errors = _errors(bundles) if isinstance(bundles, dict) else {}
        fresh = {name: text for name, text in errors.items() if presence.errors.get(name) != text}
        presence.errors = errors
        return fresh

    def describe(self, replica: str) -> dict[str, Any]:
        """Return for operators whether it counts, its silence in seconds, its polls now and so far, its errors."""
        presence = self._presence[replica]
        held = sorted(name for name, polls in presence.polls.items() if polls)
        return {
            "counted": not self._left(replica),
            "elsewhere": self.said_elsewhere(replica) is not None,
            "silent_seconds": round(self._silent(replica), 3),
            "polling": held,
            "polls": dict(presence.polled),
            "errors": dict(presence.errors),
        }

    def _left(self, name: str) -> bool:
        """Say whether a replica denies everything by now, because nothing that it can have is young enough."""
        if self.leaves_after is None:
            return False
        never_elsewhere = bool(self._presence[name].polled) and self.elsewhere.heard(name) is None
        if never_elsewhere:
            return self._silent(name) > self.leaves_after
        # Another sync vouches on for so long after it could say for the last time that it hears the replica.
        return not self.mute and self._silent(name) > self.leaves_after + RENEWAL_SECONDS + LEASE_SECONDS

    def _silent(self, name: str) -> float:
        """Return for how many seconds nobody has heard a replica, as far as this sync knows."""
        silence, heard = self._silence(self._presence[name]), self.elsewhere.heard(name)
        return silence if heard is None else min(silence, self.clock() - heard)

    def _silence(self, presence: Presence) -> float:
        return 0.0 if any(presence.polls.values()) else self.clock() - presence.seen


def _errors(bundles: Mapping[str, Any]) -> dict[str, str]:
    errors = {}
    for name, status in bundles.items():
        if not isinstance(status, dict) or not status.get("code"):
            continue
        details = status.get("errors")
        inner = map(_text, details[:3]) if isinstance(details, list) else ()
        errors[str(name)[:64]] = ": ".join([str(status.get("message", "")), *inner])[:MAX_ERROR_CHARACTERS]
    return errors


def _text(error: object) -> str:
    return str(error.get("message", error)) if isinstance(error, dict) else str(error)
