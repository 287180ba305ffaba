"""The ledger's keys and tokens, all of them in memory by the hash of their secret: no request asks the ledger."""

from __future__ import annotations

import time
from functools import lru_cache
from sys import intern
from typing import TYPE_CHECKING, NamedTuple

from gateway.errors import InvalidCredential
from gateway.keys import scope_of
from gateway.model import CredentialKind, CredentialRef, Principal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.model import Credential


class Known(NamedTuple):
    """What of a credential counts when it is presented; the rest of it stays in the ledger. Times in milliseconds."""

    id: str
    kind: CredentialKind
    subject: str
    tenant: str | None
    role: str | None
    scope: str | None
    expires_at: int | None
    revoked: bool

    @classmethod
    def of(cls, credential: Credential) -> Known:
        """Return what counts of a credential; equal texts are shared, for most keys of a tenant differ by their id."""
        return cls(
            id=credential.id,
            kind=credential.kind,
            subject=intern(credential.principal),
            tenant=intern(credential.tenant) if credential.tenant is not None else None,
            role=intern(credential.role) if credential.role is not None else None,
            scope=intern(scope_of(credential.tools)) if credential.tools else None,
            expires_at=credential.expires_at,
            revoked=credential.revoked_at is not None,
        )


class CredentialIndex:
    """Every key and token of the ledger. `clock` says how long ago the ledger last confirmed them, in seconds."""

    def __init__(self, credentials: Iterable[Credential] = (), *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._used: dict[str, int] = {}
        self._known: dict[bytes, Known] = {}
        self.replace(credentials)

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._known

    @property
    def age(self) -> float:
        """Seconds since the ledger was last read."""
        return self._clock() - self._confirmed_at

    def confirm(self) -> None:
        """Note that what is known here is what the ledger knows at this moment."""
        self._confirmed_at = self._clock()

    def replace(self, credentials: Iterable[Credential]) -> None:
        """Know these credentials from now on, and no others; may be called in another thread, for it takes a while."""
        self._known = {bytes.fromhex(one.hash): Known.of(one) for one in credentials}
        self.confirm()

    def put(self, credentials: Iterable[Credential]) -> None:
        """Know these as they are now, beside all others: the cost is that of the change alone."""
        self._known.update((bytes.fromhex(one.hash), Known.of(one)) for one in credentials)
        self.confirm()

    def find(self, digest: bytes, now: float) -> Known | None:
        """Return the credential whose secret has this SHA-256 and note its use, None where there is none.

        Revoked and expired at `now` (seconds) raise InvalidCredential; no caller may see a difference to unknown.
        """
        known = self._known.get(digest)
        if known is None:
            return None
        milliseconds = int(now * 1000)
        if known.revoked:
            raise InvalidCredential(f"{known.id} is revoked", known.kind)
        if known.expires_at is not None and milliseconds >= known.expires_at:
            raise InvalidCredential(f"{known.id} has expired", known.kind)
        self._used[known.id] = milliseconds
        return known

    def take_used(self) -> dict[str, int]:
        """Take out which credentials were used since this was last asked, and when; milliseconds by id."""
        used, self._used = self._used, {}
        return used

    def give_back(self, used: dict[str, int]) -> None:
        """Keep uses that could not be written, for the next time; what was used again since is newer."""
        self._used = used | self._used


# Most requests are of a few credentials: their principals are kept, and not those of all.
@lru_cache(maxsize=4096)
def principal_of(known: Known) -> Principal:
    """Return whom a key or token speaks for."""
    expires_at = None if known.expires_at is None else known.expires_at // 1000
    return Principal(
        subject=known.subject,
        kind=known.kind,
        tenant=known.tenant,
        credential=CredentialRef(known.id, known.role, known.scope, expires_at),
    )
