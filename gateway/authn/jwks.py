"""An issuer's signing keys: fresh for ten minutes, refetched once for all who miss one, kept while it is away."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key, KeySet
from joserfc.util import base64_to_int

from gateway.errors import KeysUnavailable
from gateway.net import FetchFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

FRESH_SECONDS = 600
MAX_STALE_SECONDS = 24 * 3600
RETRY_SECONDS = 10
COLD_RETRY_SECONDS = 1
MAX_KEYS = 64
CURVES = {"EC": {"P-256", "P-384", "P-521"}, "OKP": {"Ed25519", "Ed448"}}
RSA_BITS = range(2048, 8193)
PUBLIC_MEMBERS = ("kty", "kid", "use", "alg", "n", "e", "crv", "x", "y")


class KeyCache:
    """The keys of one issuer, by `load()`, which answers a JWKS document or raises FetchFailed."""

    def __init__(self, load: Callable[[], Awaitable[Any]], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._load = load
        self._clock = clock
        self._keys: KeySet | None = None
        self._loaded_at = self._tried_at = float("-inf")
        self._failure: FetchFailed | None = None
        self._fetch: asyncio.Task[None] | None = None
        self.failures = 0
        """How many fetches brought no keys."""

    @property
    def age(self) -> float:
        """How many seconds ago the keys in use were fetched; infinite before there are any."""
        return self._clock() - self._loaded_at

    async def current(self) -> KeySet:
        """Return the keys to verify with, at once while there are any; raises KeysUnavailable."""
        age = self._clock() - self._loaded_at
        if age > MAX_STALE_SECONDS:
            await self._refetch(COLD_RETRY_SECONDS)
        elif age > FRESH_SECONDS and self._may_fetch(RETRY_SECONDS):
            self._start()
        if self._keys is None or self._clock() - self._loaded_at > MAX_STALE_SECONDS:
            raise KeysUnavailable(str(self._failure or "the issuer's keys are not there yet"))
        return self._keys

    async def newer(self) -> KeySet:
        """Return the keys after looking for new ones, because a token names a key that is not here.

        The issuer is asked once in ten seconds at most. Raises KeysUnavailable when it was asked in vain: whether
        the token is good cannot be told.
        """
        await self._refetch(RETRY_SECONDS)
        if self._keys is None or self._failure is not None:
            raise KeysUnavailable(str(self._failure))
        return self._keys

    async def close(self) -> None:
        """Abandon the fetch under way, if any."""
        if self._fetch is not None:
            self._fetch.cancel()
            await asyncio.wait([self._fetch])

    def _may_fetch(self, pause: float) -> bool:
        return self._fetch is None and self._clock() - self._tried_at >= pause

    async def _refetch(self, pause: float) -> None:
        if self._may_fetch(pause):
            self._start()
        if self._fetch is not None:
            # Not awaited itself: one caller that hangs up must not take the keys from all who wait for them.
            await asyncio.wait([self._fetch])

    def _start(self) -> None:
        self._tried_at = self._clock()
        self._fetch = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            self._keys = parse_keys(await self._load())
            self._loaded_at, self._failure = self._clock(), None
        except FetchFailed as failure:
            self._failure = failure
            self.failures += 1
        finally:
            self._fetch = None


def parse_keys(document: Any) -> KeySet:
    """Return the usable signing keys of a JWKS (RFC 7517), possibly none; FetchFailed for what is not a JWKS."""
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise FetchFailed(f"not a key set of at most {MAX_KEYS} keys")
    return KeySet([key for key in map(_import, entries) if key is not None])


def _import(entry: Any) -> Key | None:
    """Return the key, None for one that must not verify: symmetric, private, for encryption, weak or unknown."""
    if not isinstance(entry, dict) or "d" in entry or not _for_signatures(entry):
        return None
    public = {name: entry[name] for name in PUBLIC_MEMBERS if name in entry}
    try:
        return JWKRegistry.import_key(public) if _strong(public) else None
    except (JoseError, ValueError, TypeError, KeyError):
        return None


def _for_signatures(entry: dict[str, Any]) -> bool:
    operations = entry.get("key_ops", ["verify"])
    return entry.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations


def _strong(entry: dict[str, Any]) -> bool:
    if entry["kty"] == "RSA":
        return base64_to_int(entry["n"]).bit_length() in RSA_BITS
    return entry["crv"] in CURVES.get(entry["kty"], ())
