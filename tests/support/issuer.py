"""A real issuer on loopback whose every wrong move can be ordered: rotation, outages, delays, any token at all."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiohttp import web
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from gateway.authn import Authn, CredentialIndex
from gateway.config.schema import Auth, Oidc
from tests.support.listening import listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from joserfc.jwk import Key

ABSENT = object()


def make_key(algorithm: str = "ES256", kid: str | None = None) -> Key:
    """Return a new private key that signs with the algorithm."""
    parameters: Any = {"kid": kid} if kid else None
    if algorithm[:2] in ("RS", "PS"):
        return RSAKey.generate_key(2048, parameters, auto_kid=True)
    if algorithm[:2] == "ES":
        return ECKey.generate_key("P-384" if algorithm == "ES384" else "P-256", parameters, auto_kid=True)
    return OKPKey.generate_key("Ed25519", parameters, auto_kid=True)


def segment(value: Any) -> str:
    """Return a JSON value, text or bytes as a segment of a compact JWS."""
    raw = value if isinstance(value, bytes) else (value if isinstance(value, str) else json.dumps(value)).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def sign(header: Any, payload: Any, key: Key, algorithm: str) -> str:
    """Return a compact JWS over any header and payload, whatever they are; text and bytes are signed as they stand."""
    signed = f"{segment(header)}.{segment(payload)}"
    signature = JWSRegistry.algorithms[algorithm].sign(signed.encode(), key)
    return f"{signed}.{segment(signature)}"


class Issuer:
    """The issuer; `status`, `delay`, `document`, `metadata` and `keys` may be changed at any time."""

    def __init__(self, algorithm: str = "ES256", path: str = "") -> None:
        self.algorithm = algorithm
        self.path = path
        self.url = ""
        self.keys = [make_key(algorithm)]
        self.requests: Counter[str] = Counter()
        self.status = 200
        self.delay = 0.0
        self.document: Any = ABSENT  # served as JWKS instead of the keys; bytes as they are
        self.metadata: dict[str, Any] = {}  # laid over the metadata
        self.wells = {f"/.well-known/openid-configuration{path}"}  # where metadata is served

    @property
    def jwks_fetches(self) -> int:
        """How often the key set was asked for."""
        return self.requests["/jwks"]

    def rotate(self) -> None:
        """Replace the signing key by a new one."""
        self.keys = [make_key(self.algorithm)]

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Return the claims of a good access token of tenant:a, with changes; ABSENT takes one out."""
        now = int(time.time())
        good = {
            "iss": self.url,
            "sub": "jo",
            "aud": "mcp-hangar",
            "iat": now,
            "exp": now + 300,
            "tenant_id": "tenant:a",
        }
        return {name: value for name, value in {**good, **changes}.items() if value is not ABSENT}

    def header(self, **changes: Any) -> dict[str, Any]:
        """Return the header of a good access token, with changes; ABSENT takes one out."""
        good = {"alg": self.algorithm, "kid": self.keys[0].kid, "typ": "at+jwt"}
        return {name: value for name, value in {**good, **changes}.items() if value is not ABSENT}

    def mint(self, header: Mapping[str, Any] | None = None, key: Key | None = None, **claims: Any) -> str:
        """Return a token with these changes to header and claims, signed by the current or a given key."""
        return sign(self.header(**(header or {})), self.claims(**claims), key or self.keys[0], self.algorithm)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer metadata and keys, as ordered."""
        self.requests[request.path] += 1
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.status != 200:
            return web.Response(status=self.status, headers={"Location": f"{self.url}/elsewhere"})
        if request.path == "/jwks":
            return self._jwks()
        if request.path in self.wells:
            return web.json_response({"issuer": self.url, "jwks_uri": f"{self._origin}/jwks", **self.metadata})
        return web.Response(status=404)

    def _jwks(self) -> web.Response:
        if isinstance(self.document, bytes):
            return web.Response(body=self.document, content_type="application/json")
        if self.document is not ABSENT:
            return web.json_response(self.document)
        return web.json_response({"keys": [key.as_dict(private=False) for key in self.keys]})

    @property
    def _origin(self) -> str:
        return self.url.removesuffix(self.path)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Issuer]:
        """Serve on a free port of loopback; `url` is set from then on."""
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        async with listening(runner) as origin:
            self.url = origin + self.path
            yield self


def auth_of(issuer: Issuer, **oidc: Any) -> Auth:
    """Return the `auth` section of a front door that trusts the issuer, with changes to `oidc`."""
    good = {"issuer": issuer.url, "audience": "mcp-hangar", "resource_uri": "https://hangar.example.com"}
    return Auth(enabled=True, oidc=Oidc.model_validate({"enabled": True, **good, **oidc}))


def auth_of_all(*issuers: dict[str, Any], **oidc: Any) -> Auth:
    """Return the `auth` section of a front door that trusts several issuers, each as its entry says."""
    section = {"enabled": True, "resource_uri": "https://hangar.example.com", "issuers": issuers, **oidc}
    return Auth(enabled=True, oidc=Oidc.model_validate(section))


@asynccontextmanager
async def trusting(issuer: Issuer, **oidc: Any) -> AsyncIterator[Authn]:
    """Run authentication that trusts the issuer and knows no keys."""
    authn = Authn(auth_of(issuer, **oidc), CredentialIndex())
    try:
        yield authn
    finally:
        await authn.close()
