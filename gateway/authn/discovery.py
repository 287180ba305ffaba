"""Where an issuer keeps its keys: its metadata (RFC 8414, OpenID Connect Discovery) and the JWKS named there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from yarl import URL

from gateway.addresses import Addresses, is_loopback
from gateway.net import FetchFailed, fetch_json, guarded_session

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp

    from gateway.addresses import Network
    from gateway.config.schema import TrustedIssuer

MAX_BYTES = 256 * 1024
TIMEOUT_SECONDS = 5.0


def metadata_urls(issuer: str) -> tuple[str, ...]:
    """Return where the metadata of an issuer may be, in the order of MCP 2026-07-28's authorization chapter."""
    parsed = URL(issuer, encoded=True)
    origin, path = str(parsed.origin()), parsed.raw_path.rstrip("/")
    urls = (
        f"{origin}/.well-known/oauth-authorization-server{path}",
        f"{origin}/.well-known/openid-configuration{path}",
        f"{origin}{path}/.well-known/openid-configuration",
    )
    return tuple(dict.fromkeys(urls))


@dataclass(frozen=True, slots=True)
class KeySource:
    """All of the configuration that the keys depend on; equal sources may share one cache across reloads."""

    issuer: str
    jwks_uri: str | None = None
    plain: bool = False
    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, trusted: TrustedIssuer) -> Self:
        """Return the source that the configuration describes."""
        return cls(trusted.issuer or "", trusted.jwks_uri, trusted.allow_insecure_issuer, trusted.allowed_networks)

    def session(self) -> aiohttp.ClientSession:
        """Return a session that reaches public addresses, the listed networks, and loopback if the issuer is there."""
        host = URL(self.jwks_uri or self.issuer).host or ""
        return guarded_session(Addresses.of_issuer(self.networks, loopback=is_loopback(host)))

    async def load(self, open_session: Callable[[], aiohttp.ClientSession] | None = None) -> Any:
        """Return the issuer's JWKS document as it was sent; raises FetchFailed."""
        async with (open_session or self.session)() as session:
            jwks_uri = self.jwks_uri or await self._discover(session)
            return await self._get(session, jwks_uri)

    async def _discover(self, session: aiohttp.ClientSession) -> str:
        failure = FetchFailed("no metadata")
        for url in metadata_urls(self.issuer):
            try:
                return self._jwks_uri(await self._get(session, url), url)
            except FetchFailed as error:
                # Somebody who does not answer at all, or cannot, will not do better at another path.
                if error.status is None or error.status >= 500:
                    raise
                failure = error
        raise failure

    def _jwks_uri(self, metadata: Any, url: str) -> str:
        if not isinstance(metadata, dict) or metadata.get("issuer") != self.issuer:
            raise FetchFailed(f"{url} is not the metadata of exactly {self.issuer}", 200)
        if not isinstance(metadata.get("jwks_uri"), str):
            raise FetchFailed(f"{url} names no jwks_uri", 200)
        return str(metadata["jwks_uri"])

    async def _get(self, session: aiohttp.ClientSession, url: str) -> Any:
        return await fetch_json(session, url, max_bytes=MAX_BYTES, timeout=TIMEOUT_SECONDS, plain=self.plain)
