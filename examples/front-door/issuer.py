"""A small OpenID Connect issuer for the demo: one signing key made at start, one token for each demo agent.

    python examples/front-door/issuer.py --port 9000
    curl -s localhost:9000/token -d grant_type=client_credentials -d client_id=agent-a -d client_secret=agent-a

It protects nothing: everybody knows the clients' secrets. A real front door has a real issuer.
"""

from __future__ import annotations

import argparse
import hmac
import secrets
import time

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey

CLIENTS: dict[str, str | None] = {"agent-a": "tenant:a", "agent-b": "tenant:b", "agent-without-tenant": None}
LIFETIME_SECONDS = 3600
ALGORITHM = "ES256"


class DemoIssuer:
    """One issuer under one URL; its tokens are RFC 9068 access tokens."""

    def __init__(self, issuer: str, audience: str) -> None:
        self.issuer = issuer
        self.audience = audience
        self._key = ECKey.generate_key("P-256", {"use": "sig", "alg": ALGORITHM}, auto_kid=True)

    def token(self, client: str, audience: str | None = None) -> str:
        """Return a signed access token for a demo client."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": client,
            "client_id": client,
            "aud": audience or self.audience,
            "iat": now,
            "exp": now + LIFETIME_SECONDS,
            "jti": secrets.token_urlsafe(12),
            "scope": "mcp:tools",
        }
        if (tenant := CLIENTS[client]) is not None:
            claims["tenant_id"] = tenant
        return jwt.encode({"alg": ALGORITHM, "kid": self._key.kid, "typ": "at+jwt"}, claims, self._key)

    async def metadata(self, _: web.Request) -> web.Response:
        """Answer the metadata of OpenID Connect Discovery and RFC 8414."""
        return web.json_response(
            {
                "issuer": self.issuer,
                "jwks_uri": f"{self.issuer}/jwks",
                "token_endpoint": f"{self.issuer}/token",
                "grant_types_supported": ["client_credentials"],
                "token_endpoint_auth_methods_supported": ["client_secret_post"],
                "response_types_supported": [],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": [ALGORITHM],
            }
        )

    async def jwks(self, _: web.Request) -> web.Response:
        """Answer the public key (RFC 7517)."""
        return web.json_response({"keys": [self._key.as_dict(private=False)]})

    async def exchange(self, request: web.Request) -> web.Response:
        """Answer a token for a client that knows its secret, which is its name (RFC 6749, section 4.4)."""
        form = await request.post()
        client, secret = str(form.get("client_id", "")), str(form.get("client_secret", ""))
        if form.get("grant_type") != "client_credentials":
            return web.json_response({"error": "unsupported_grant_type"}, status=400)
        if client not in CLIENTS or not hmac.compare_digest(secret.encode(), client.encode()):
            return web.json_response({"error": "invalid_client"}, status=401)
        resource = form.get("resource")
        token = self.token(client, resource if isinstance(resource, str) else None)
        body = {"access_token": token, "token_type": "Bearer", "expires_in": LIFETIME_SECONDS, "scope": "mcp:tools"}
        return web.json_response(body, headers={"Cache-Control": "no-store"})

    def app(self) -> web.Application:
        """Return the application with all of the issuer's routes."""
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self.metadata)
        app.router.add_get("/.well-known/oauth-authorization-server", self.metadata)
        app.router.add_get("/jwks", self.jwks)
        app.router.add_post("/token", self.exchange)
        return app


def main() -> None:
    """Serve the demo issuer until interrupted."""
    parser = argparse.ArgumentParser(description="OpenID Connect issuer for the demo")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--issuer", help="the issuer's URL, if clients know it by another than http://HOST:PORT")
    parser.add_argument("--audience", default="mcp-hangar", help="audience of tokens asked for without a resource")
    options = parser.parse_args()
    issuer = options.issuer or f"http://{options.host}:{options.port}"
    print(f"issuer {issuer}", flush=True)
    web.run_app(DemoIssuer(issuer, options.audience).app(), host=options.host, port=options.port, print=None)


if __name__ == "__main__":
    main()
