"""The replicas that count: gateway+OPA pairs known by the tokens with which their OPAs poll."""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from gateway.facts import Replica

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
    """`clock` counts seconds monotonically. After `leaves_after` seconds of silence a replica counts no more;
    None: it counts until the ledger forgets it.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.leaves_after: float | None = None
        self._clock = clock
        self._tokens: dict[str, str] = {}
        self._presence: dict[str, Presence] = {}

    @property
    def names(self) -> set[str]:
        """Every replica that the ledger knows, silent ones included."""
        return set(self._tokens)

    def replace(self, replicas: Sequence[Replica]) -> None:
        """Know these replicas and no others."""
        self._tokens = {replica.name: replica.token_hash for replica in replicas}
        self._presence = {name: self._presence.get(name) or Presence(self._clock()) for name in self._tokens}

    def counted(self) -> list[str]:
        """Return the replicas that an acknowledgement waits for, sorted."""
        return sorted(name for name, presence in self._presence.items() if not self._left(presence))

    def of_token(self, token: str) -> str | None:
        """Return whose token this is; every hash is compared, so the time taken tells nothing."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
        found = [name for name, known in self._tokens.items() if hmac.compare_digest(digest, known)]
        return found[0] if found else None

    @contextmanager
    def polling(self, replica: str, bundle: str) -> Iterator[None]:
        """Mark a poll as held."""
        presence = self._presence[replica]
        presence.seen = self._clock()
        presence.polls[bundle] += 1
        presence.polled[bundle] += 1
        try:
            yield
        finally:
            presence.polls[bundle] -= 1
            presence.seen = self._clock()

    def reported(self, replica: str, status: Mapping[str, Any]) -> dict[str, str]:
        """Keep the error texts of a status post of OPA's, by bundle, and return those that are new."""
        presence = self._presence.get(replica) or Presence(self._clock())
        bundles = status.get("bundles")
        errors = _errors(bundles) if isinstance(bundles, dict) else {}
        fresh = {name: text for name, text in errors.items() if presence.errors.get(name) != text}
        presence.errors = errors
        return fresh

    def describe(self, replica: str) -> dict[str, Any]:
        """Return for operators whether it counts, its silence in seconds, its polls now and so far, its errors."""
        presence = self._presence[replica]
        held = sorted(name for name, polls in presence.polls.items() if polls)
        silence = 0.0 if held else round(self._clock() - presence.seen, 3)
        return {
            "counted": not self._left(presence),
            "silent_seconds": silence,
            "polling": held,
            "polls": dict(presence.polled),
            "errors": dict(presence.errors),
        }

    def _left(self, presence: Presence) -> bool:
        silent = not any(presence.polls.values()) and self.leaves_after is not None
        return silent and self._clock() - presence.seen > (self.leaves_after or 0)


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
