"""Sessions of agents before 2026-07-28: sealed values that any replica reads, with no store behind them (A23).

A session is good for the credential that opened it, at the endpoint where it was opened; for everybody else it does
not exist. What cannot be sealed because it changes is kept by the replica that was told: which sessions were ended, and
the level of log messages and the resources that one asked for.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.errors import UnknownSession
from gateway.model import CredentialKind
from gateway.seals import MAX_SECONDS, BrokenSeal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.model import Principal
    from gateway.seals import Seals

PURPOSE = "session"
# Of each of the two things that are remembered; the oldest is forgotten first.
MAX_REMEMBERED = 100_000
MAX_WATCHED = 100
_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Session:
    """What was agreed on when a session was opened; `id` names it in the trail, and opens nothing.

    `expires_at` is in seconds since the epoch.
    """

    id: str
    version: str
    capabilities: dict[str, Any] = field(default_factory=dict)
    client: dict[str, str] = field(default_factory=dict)
    expires_at: int = 0


_READ = msgspec.json.Decoder(Session)


class Sessions:
    """Opens, reads and ends sessions; `clock` is in seconds since the epoch."""

    def __init__(self, seals: Seals, *, clock: Callable[[], float] = time.time) -> None:
        self._seals = seals
        self._clock = clock
        self._ended: dict[str, None] = {}
        self._levels: dict[str, str] = {}
        self._watched: dict[str, dict[str, str]] = {}

    def open(
        self,
        owner: bytes,
        principal: Principal,
        version: str,
        capabilities: Mapping[str, Any],
        client: Mapping[str, str],
    ) -> tuple[Session, str]:
        """Return a new session, and the sealed value by which its owner names it."""
        expires_at = int(self._clock()) + MAX_SECONDS
        if is_own_credential(principal) and principal.credential and principal.credential.expires_at is not None:
            expires_at = min(expires_at, principal.credential.expires_at)
        session = Session(os.urandom(_ID_BYTES).hex(), version, dict(capabilities), dict(client), expires_at)
        text = self._seals.seal(PURPOSE, msgspec.json.encode(session), bound_to=owner, expires_at=expires_at)
        return session, text

    def find(self, owner: bytes, sealed: str) -> Session:
        """Return the session of this owner.

        Raises UnknownSession alike for one that is somebody else's, ended, over, or was never one.
        """
        try:
            session = _READ.decode(self._seals.unseal(PURPOSE, sealed, bound_to=owner))
        except (BrokenSeal, msgspec.MsgspecError):
            raise UnknownSession from None
        if session.id in self._ended:
            raise UnknownSession
        return session

    def end(self, session: Session) -> None:
        """Know it no more, on this replica."""
        remember(self._ended, session.id, None)
        self._levels.pop(session.id, None)
        self._watched.pop(session.id, None)

    def set_level(self, session: Session, level: str) -> None:
        """Note the least severe log message that the session's agent wants."""
        remember(self._levels, session.id, level)

    def level(self, session: Session) -> str | None:
        """Return the level that was set, None where none was, or at another replica."""
        return self._levels.get(session.id)

    def watch(self, session: Session, uri: str, server: str) -> None:
        """Note that the session's agent wants to hear of a resource of a server; of so many, the newest count."""
        uris = {**self._watched.get(session.id, {}), uri: server}
        remember(self._watched, session.id, dict(list(uris.items())[-MAX_WATCHED:]))

    def unwatch(self, session: Session, uri: str) -> None:
        """Note that it does not any more."""
        self._watched.get(session.id, {}).pop(uri, None)

    def watched(self, session: Session) -> Mapping[str, str]:
        """Return the resources that the session's agent wants to hear of, each with its server."""
        return self._watched.get(session.id, {})


def owner_of(principal: Principal, *endpoint: str | None) -> bytes:
    """Return whose a session is: the caller, by the credential that it is known by, at one endpoint.

    A token of an issuer is replaced every few minutes by another one for the same subject, so it is the subject that
    counts there.
    """
    credential = principal.credential.id if is_own_credential(principal) and principal.credential else None
    return msgspec.json.encode([*principal.identity, credential, *endpoint])


def is_own_credential(principal: Principal) -> bool:
    """Whether the credential stays the same for as long as its owner uses it: keys do, tokens of an issuer do not."""
    return principal.kind is not CredentialKind.JWT


def remember(known: dict[str, Any], key: str, value: Any) -> None:
    """Keep a value, in the place of the oldest where there are too many."""
    known.pop(key, None)
    known[key] = value
    if len(known) > MAX_REMEMBERED:
        del known[next(iter(known))]
