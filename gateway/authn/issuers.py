"""The issuers of one configuration: a token is its issuer's to verify and nobody else's, and is then remembered."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from gateway.authn.claims import bad
from gateway.authn.discovery import KeySource
from gateway.authn.jwks import KeyCache
from gateway.authn.oidc import Issuer, peek

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.authn.claims import Verified
    from gateway.config.schema import Oidc
    from gateway.model import Principal

REMEMBERED_TOKENS = 10_000
REMEMBERED_SECONDS = 60


class _Remembered(NamedTuple):
    until: float
    issuer: Issuer
    verified: Verified


class Issuers:
    """Verifiers by issuer. A new configuration makes new ones, which remember no token; keys go on where they can.

    What is remembered is found by the SHA-256 of the whole token, belongs to one configuration by lying here, and
    names the issuer that verified it: no token is ever taken for another, nor for one of another issuer.
    """

    def __init__(
        self,
        oidc: Oidc,
        keys: Mapping[KeySource, KeyCache],
        *,
        clock: Callable[[], float],
        remembering: int = REMEMBERED_TOKENS,
    ) -> None:
        """Take the keys that are there already, by where they come from, and how many tokens to remember."""
        self._clock = clock
        self._most = remembering
        sources = {one.issuer: KeySource.of(one) for one in oidc.trusted if one.issuer} if oidc.enabled else {}
        self.keys = {source: keys.get(source) or KeyCache(source.load) for source in sources.values()}
        self.by_issuer = {issuer: self.keys[source] for issuer, source in sources.items()}
        self._issuers = {
            one.issuer: Issuer(one, _audiences(one.audience, oidc.resource_uri), self.keys[sources[one.issuer]])
            for one in oidc.trusted
            if one.issuer in sources
        }
        self._remembered: OrderedDict[bytes, _Remembered] = OrderedDict()

    @property
    def remembered(self) -> int:
        """How many verified tokens are remembered."""
        return len(self._remembered)

    async def close(self, successor: Issuers | None = None) -> None:
        """Abandon fetches under way, except those of keys that the successor goes on with."""
        kept = successor.keys.values() if successor else ()
        await asyncio.gather(*(keys.close() for keys in self.keys.values() if keys not in kept))

    async def authenticate(self, token: str, digest: bytes, endpoint: str | None = None) -> Principal:
        """Return whom the token speaks for at this endpoint; `digest` is the SHA-256 of all of it.

        Raises InvalidCredential, or KeysUnavailable where it cannot be told.
        """
        found = self._remembered.get(digest)
        if found is None or self._clock() >= found.until:
            found = await self._verified(token, digest)
        elif len(self._remembered) >= self._most // 2:
            self._remembered.move_to_end(digest)
        audiences = found.verified.audiences
        if audiences.isdisjoint(found.issuer.audiences) and endpoint not in audiences:
            raise bad("meant for another audience")
        return found.verified.principal

    async def _verified(self, token: str, digest: bytes) -> _Remembered:
        read = peek(token)
        name = read.claims.get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise bad("of an issuer that is not trusted")
        verified = await issuer.verify(token, read, digest, self._clock())
        return self._remember(digest, issuer, verified)

    def _remember(self, digest: bytes, issuer: Issuer, verified: Verified) -> _Remembered:
        until = min(verified.expires_at, self._clock() + REMEMBERED_SECONDS)
        found = self._remembered[digest] = _Remembered(until, issuer, verified)
        self._remembered.move_to_end(digest)
        if len(self._remembered) > self._most:
            self._remembered.popitem(last=False)
        return found


def _audiences(audience: str | None, resource_uri: str | None) -> frozenset[str]:
    accepted = {audience} if audience else set()
    if resource_uri:
        bare = resource_uri.removesuffix("/")
        accepted |= {bare, f"{bare}/"}
    return frozenset(accepted)
