"""From a presented credential to a principal: chosen by the credential's form, never falling through to another."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway.authn.discovery import KeySource
from gateway.authn.jwks import KeyCache
from gateway.authn.oidc import Issuer
from gateway.authn.presented import present
from gateway.errors import CredentialRequired, InvalidCredential
from gateway.keys import PREFIX, sha256
from gateway.model import ANONYMOUS, CredentialKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from multidict import CIMultiDict, CIMultiDictProxy

    from gateway.authn.api_key import CredentialIndex
    from gateway.authn.presented import Presented
    from gateway.config.schema import Auth
    from gateway.model import Principal


class Authn:
    """Authentication under one configuration; a reload makes another one with `renewed`."""

    def __init__(
        self,
        auth: Auth,
        index: CredentialIndex,
        *,
        clock: Callable[[], float] = time.time,
        keys: tuple[KeySource, KeyCache] | None = None,
    ) -> None:
        self._auth = auth
        self._index = index
        self._clock = clock
        self._keys = _keys(auth, keys)
        self._issuer = Issuer(auth.oidc, self._keys[1], clock=clock) if self._keys else None

    def renewed(self, auth: Auth) -> Authn:
        """Return the successor under a new configuration: keys stay while the issuer does, verified tokens do not."""
        return Authn(auth, self._index, clock=self._clock, keys=self._keys)

    async def close(self, successor: Authn | None = None) -> None:
        """Stop what is under way, except what the successor goes on with."""
        if self._keys and not (successor and successor.uses(self._keys[1])):
            await self._keys[1].close()

    def uses(self, keys: KeyCache) -> bool:
        """Say whether these are the keys verified with."""
        return self._keys is not None and self._keys[1] is keys

    def present(self, headers: CIMultiDict[str] | CIMultiDictProxy[str], query: Iterable[str]) -> Presented | None:
        """Return the one credential of a request (see `presented.present`); None always with authentication off."""
        if not self._auth.enabled:
            return None
        return present(headers, query, self._auth.api_key.header_name)

    async def authenticate(self, presented: Presented | None, endpoint: str | None = None) -> Principal:
        """Return whom the credential speaks for; `endpoint` is the called URI, which a token may have as audience.

        Raises CredentialRequired where nothing is presented and nobody is admitted anonymously, InvalidCredential
        for anything presented that is not good, KeysUnavailable while a token cannot be judged.
        """
        if not self._auth.enabled:
            return ANONYMOUS
        if presented is None:
            if self._auth.allow_anonymous:
                return ANONYMOUS
            raise CredentialRequired("no credential was presented")
        digest = sha256(presented.secret)
        if self._auth.api_key.enabled:
            principal = self._index.principal(digest, self._clock())
            if principal is not None:
                return principal
        if presented.via == "bearer" and presented.secret.count(".") == 2 and self._issuer:
            return await self._issuer.authenticate(presented.secret, digest, endpoint)
        raise InvalidCredential("not known", _looks_like(presented.secret))


def _looks_like(secret: str) -> str:
    if secret.startswith(PREFIX):
        return CredentialKind.API_KEY
    return CredentialKind.JWT if secret.count(".") == 2 else "unknown"


def _keys(auth: Auth, known: tuple[KeySource, KeyCache] | None) -> tuple[KeySource, KeyCache] | None:
    if not (auth.enabled and auth.oidc.enabled):
        return None
    source = KeySource.of(auth.oidc)
    return known if known and known[0] == source else (source, KeyCache(source.load))
