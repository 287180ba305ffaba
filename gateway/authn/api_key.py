"""API keys: opaque secrets of which only the SHA-256 is kept, all of them in memory."""

from __future__ import annotations

import hashlib
import secrets
import zlib
from typing import TYPE_CHECKING, NamedTuple

from gateway.errors import InvalidCredential
from gateway.model import CredentialKind, CredentialRef, Principal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.model import Credential

PREFIX = "mcp_"
SHOWN_CHARACTERS = 12
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM, _CHECKSUM = 43, 6


def new_key() -> str:
    """Return a new key: `mcp_`, 43 random url-safe characters, 6 of checksum, so that scanners can tell one."""
    body = secrets.token_urlsafe(32)
    return PREFIX + body + _checksum(body)


def well_formed(secret: str) -> bool:
    """Say whether the text has the form and the checksum of a key; a good one need not be known."""
    body = secret[len(PREFIX) : -_CHECKSUM]
    return secret.startswith(PREFIX) and len(body) == _RANDOM and secret.endswith(_checksum(body))


def hash_of(secret: str) -> str:
    """Return what is stored of a secret: its SHA-256 in lower-case hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def shown_prefix(secret: str) -> str:
    """Return the part of a secret that lists may show."""
    return secret[:SHOWN_CHARACTERS]


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = ""
    for _ in range(_CHECKSUM):
        number, digit = divmod(number, len(_BASE62))
        digits = _BASE62[digit] + digits
    return digits


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

    def find(self, secret: str) -> Credential | None:
        """Return the credential of a secret in whatever state it is, or None."""
        known = self._known.get(hash_of(secret))
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
