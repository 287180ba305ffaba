"""API keys: opaque secrets of which only the SHA-256 is kept, all of them in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.errors import InvalidCredential
from gateway.keys import sha256
from gateway.model import CredentialKind, CredentialRef, Principal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.model import Credential


class _Known(NamedTuple):
    credential: Credential
    principal: Principal


class CredentialIndex:
    """Every key of the ledger by the hash of its secret; replaced whole, so that no request sees half a change."""

    def __init__(self, credentials: Iterable[Credential] = ()) -> None:
        self._known: dict[str, _Known] = {}
        self.replace(credentials)

    def replace(self, credentials: Iterable[Credential]) -> None:
        """Know these credentials from now on, and no others."""
        self._known = {one.hash.lower(): _Known(one, principal_of(one)) for one in credentials}

    def put(self, credentials: Iterable[Credential]) -> None:
        """Know these as they are now, beside all others."""
        self._known.update((one.hash.lower(), _Known(one, principal_of(one))) for one in credentials)

    def confirm(self) -> None:
        """Hear that what is known here is what the ledger knows at this moment."""

    def find(self, secret: str) -> Credential | None:
        """Return the credential of a secret in whatever state it is, or None."""
        known = self._known.get(sha256(secret))
        return known.credential if known else None

    def principal(self, digest: str, now: float) -> Principal | None:
        """Return whom the secret of this hash speaks for at `now` (seconds), None for a hash that is not known.

        Revoked and expired raise InvalidCredential; the caller of the gateway must see no difference to unknown.
        """
        known = self._known.get(digest)
        if known is None:
            return None
        credential = known.credential
        if credential.revoked_at is not None:
            raise InvalidCredential(f"{credential.id} is revoked", CredentialKind.API_KEY)
        if credential.expires_at is not None and now * 1000 >= credential.expires_at:
            raise InvalidCredential(f"{credential.id} has expired", CredentialKind.API_KEY)
        return known.principal


def principal_of(credential: Credential) -> Principal:
    """Return the principal that a key speaks for; a key of a tenant is bound to it."""
    scope = "global" if credential.tenant is None else f"tenant:{credential.tenant}"
    expires_at = None if credential.expires_at is None else credential.expires_at // 1000
    return Principal(
        subject=credential.principal,
        kind=CredentialKind.API_KEY,
        tenant=credential.tenant,
        credential=CredentialRef(credential.id, credential.role, scope, expires_at),
    )
