"""From a presented credential to a principal: by its hash, else by its form, and never falling through to another."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway.authn import credentials
from gateway.authn.issuers import Issuers
from gateway.authn.presented import present
from gateway.authn.tenant_keys import principal_of_key
from gateway.errors import CredentialRequired, InvalidCredential, LedgerStale
from gateway.keys import PREFIX, TOKEN_PREFIX, digest, looks_like_key
from gateway.model import ANONYMOUS, CredentialKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from multidict import CIMultiDict, CIMultiDictProxy

    from gateway.authn.credentials import CredentialIndex
    from gateway.authn.discovery import KeySource
    from gateway.authn.jwks import KeyCache
    from gateway.authn.presented import Presented
    from gateway.authn.tenant_keys import TenantKey
    from gateway.config.schema import Auth
    from gateway.model import Principal


class Authn:
    """Authentication under one configuration; a reload makes another one with `renewed`.

    `tenant_keys` are those of the configuration's tenants, by the SHA-256 of each.
    """

    def __init__(
        self,
        auth: Auth,
        index: CredentialIndex,
        tenant_keys: Mapping[bytes, TenantKey] | None = None,
        *,
        clock: Callable[[], float] = time.time,
        keys: Mapping[KeySource, KeyCache] | None = None,
    ) -> None:
        self._auth = auth
        self._index = index
        self._tenant_keys = tenant_keys or {}
        self._clock = clock
        self.issuers = Issuers(auth.oidc, keys or {}, clock=clock)

    def renewed(self, auth: Auth, tenant_keys: Mapping[bytes, TenantKey] | None = None) -> Authn:
        """Return the successor under a new configuration: an issuer's keys stay while it does, tokens are read anew."""
        return Authn(auth, self._index, tenant_keys, clock=self._clock, keys=self.issuers.keys)

    async def close(self, successor: Authn | None = None) -> None:
        """Stop what is under way, except what the successor goes on with."""
        await self.issuers.close(successor.issuers if successor else None)

    @property
    def keys(self) -> Mapping[str, KeyCache]:
        """The keys that tokens are verified with, by issuer."""
        return self.issuers.by_issuer

    def present(self, headers: CIMultiDict[str] | CIMultiDictProxy[str], query: Iterable[str]) -> Presented | None:
        """Return the one credential of a request (see `presented.present`); None always with authentication off."""
        if not self._auth.enabled:
            return None
        return present(headers, query, self._auth.api_key.header_name)

    async def authenticate(self, presented: Presented | None, endpoint: str | None = None) -> Principal:
        """Return whom the credential speaks for; `endpoint` is the called URI, which a token may have as audience.

        Raises CredentialRequired where nothing is presented and nobody is admitted anonymously, InvalidCredential
        for anything presented that is not good, CredentialUndecided while that cannot be told.
        """
        if not self._auth.enabled:
            return ANONYMOUS
        if presented is None:
            if self._auth.allow_anonymous:
                return ANONYMOUS
            raise CredentialRequired("no credential was presented")
        hashed = digest(presented.secret)
        # Not asked while the ledger is away for too long: what it says of a key may not be true any more. Unknown ones
        # are answered alike then, because an answer that told known from unknown would be an oracle.
        stale = self._index.age > self._auth.max_stale_seconds
        if (principal := self._known(presented.secret, hashed, stale=stale)) is not None:
            return principal
        if presented.via == "bearer" and presented.secret.count(".") == 2 and self._auth.oidc.enabled:
            return await self.issuers.authenticate(presented.secret, hashed, endpoint)
        if stale:
            raise LedgerStale(f"the ledger was last read {self._index.age:.0f} s ago")
        raise bad(presented.secret)

    def _known(self, secret: str, hashed: bytes, *, stale: bool) -> Principal | None:
        """Return whom a key or token speaks for, None for what is neither in the ledger nor in the configuration.

        A hash that both have is the ledger's, so that revoking it there is enough.
        """
        known = None if stale else self._index.find(hashed, self._clock())
        if known is not None:
            principal = credentials.principal_of(known)
        elif (key := self._tenant_keys.get(hashed)) is not None and not (stale and hashed in self._index):
            principal = principal_of_key(key, hashed)
        else:
            return None
        if principal.kind is not CredentialKind.TENANT_TOKEN and not self._auth.api_key.enabled:
            raise bad(secret, "API keys are switched off")
        return principal


def bad(secret: str, why: str = "not known") -> InvalidCredential:
    """Return the error for a credential that is none here, by what it looks like; the secret is not in it."""
    if secret.startswith(PREFIX):
        mistyped = "mistyped, cut, or no key of this gateway's making"
        return InvalidCredential(why if looks_like_key(secret) else mistyped, CredentialKind.API_KEY)
    if secret.startswith(TOKEN_PREFIX):
        return InvalidCredential(why, CredentialKind.TENANT_TOKEN)
    return InvalidCredential(why, CredentialKind.JWT if secret.count(".") == 2 else "unknown")
