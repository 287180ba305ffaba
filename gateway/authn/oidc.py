"""JWTs of one issuer (RFC 7519, RFC 9068): read strictly, verified by its keys, remembered for a minute."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from joserfc.errors import InvalidKeyIdError, JoseError, UnsupportedAlgorithmError
from joserfc.jws import JWSRegistry, deserialize_compact
from joserfc.util import urlsafe_b64decode

from gateway.authn import claims
from gateway.authn.claims import Verified, bad
from gateway.mcp.errors import Malformed
from gateway.mcp.json import decode

if TYPE_CHECKING:
    from collections.abc import Callable

    from joserfc.jwk import KeySet

    from gateway.authn.jwks import KeyCache
    from gateway.config.schema import Oidc
    from gateway.model import Principal

MAX_TOKEN_BYTES = 8192
REMEMBERED_TOKENS = 10_000
REMEMBERED_SECONDS = 60
# Signatures that need the issuer's private key; the symmetric ones would let anybody sign who can read the JWKS.
ASYMMETRIC = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519", "Ed448"}
)


class _Algorithms(JWSRegistry):
    """joserfc's registry with no default list, and silent on EdDSA, whose new names (RFC 9864) few issuers use."""

    max_header_length = 4096
    max_signature_length = 1400

    def get_alg(self, name: str) -> Any:
        if name not in (self.allowed or ()):
            raise UnsupportedAlgorithmError(f"{name} is not allowed")
        return self.algorithms[name]


class Issuer:
    """The verifier of one issuer's tokens; a new configuration makes a new one, which remembers nothing."""

    def __init__(self, oidc: Oidc, keys: KeyCache, *, clock: Callable[[], float]) -> None:
        self._oidc = oidc
        self._keys = keys
        self._clock = clock
        # Microsoft and others send header parameters that no RFC names; those that matter are judged below.
        self._algorithms = _Algorithms(algorithms=ASYMMETRIC.intersection(oidc.algorithms), strict_check_header=False)
        self._types = frozenset(_media_type(name) for name in oidc.token_types)
        self._audiences = _audiences(oidc)
        self._remembered: OrderedDict[str, tuple[float, Verified]] = OrderedDict()

    async def authenticate(self, token: str, digest: str, endpoint: str | None = None) -> Principal:
        """Return whom the token speaks for at this endpoint; `digest` is the SHA-256 of all of it, in hex.

        Raises InvalidCredential, or KeysUnavailable where it cannot be told.
        """
        now = self._clock()
        until, verified = self._remembered.get(digest, (0.0, None))
        if verified is None or now >= until:
            verified = await self._verify(token, digest)
            self._remember(digest, verified)
        elif len(self._remembered) >= REMEMBERED_TOKENS // 2:
            self._remembered.move_to_end(digest)
        audiences = verified.audiences
        if audiences.isdisjoint(self._audiences) and endpoint not in audiences:
            raise bad("meant for another audience")
        return verified.principal

    def _remember(self, digest: str, verified: Verified) -> None:
        until = min(verified.expires_at, self._clock() + REMEMBERED_SECONDS)
        self._remembered[digest] = (until, verified)
        self._remembered.move_to_end(digest)
        if len(self._remembered) > REMEMBERED_TOKENS:
            self._remembered.popitem(last=False)

    async def _verify(self, token: str, digest: str) -> Verified:
        header, claimed = _peek(token)
        if claimed.get("iss") != self._oidc.issuer or not self._oidc.issuer:
            raise bad("of another issuer")
        self._require_header(header)
        payload = self._signed(token, await self._keys.current())
        if payload is None:
            payload = self._signed(token, await self._keys.newer())
        if payload is None:
            raise bad("of an unknown key")
        return claims.read(_object(payload), self._oidc, digest, self._clock())

    def _require_header(self, header: dict[str, Any]) -> None:
        kind = header.get("typ")
        if not isinstance(kind, str) or _media_type(kind) not in self._types:
            raise bad("of another type, or of none")
        # RFC 7797 and `crit` change what the signature covers; nothing here understands any extension.
        if "crit" in header or "b64" in header:
            raise bad("with critical header parameters")

    def _signed(self, token: str, keys: KeySet) -> bytes | None:
        """Return the payload that the signature covers, None where the token's key is not among these."""
        try:
            return deserialize_compact(token, keys, registry=self._algorithms).payload
        except InvalidKeyIdError:
            return None
        except JoseError as error:
            raise bad(error.error) from error
        except (ValueError, TypeError) as error:
            raise bad("malformed") from error


def _peek(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims before anything is verified: good for choosing who is to verify them, for no more."""
    segments = token.encode().split(b".")
    if len(segments) != 3 or len(token) > MAX_TOKEN_BYTES:
        raise bad("not three segments of a proper length")
    try:
        return _object(urlsafe_b64decode(segments[0])), _object(urlsafe_b64decode(segments[1]))
    except ValueError as error:
        raise bad("malformed") from error


def _object(raw: bytes) -> dict[str, Any]:
    # Read so that no two readers can understand it differently (RFC 8725, section 2.4).
    try:
        value = decode(raw)
    except Malformed as error:
        raise bad("malformed") from error
    if not isinstance(value, dict):
        raise bad("malformed")
    return value


def _media_type(name: str) -> str:
    # RFC 7515, section 4.1.9: "application/" may be left out where no other slash is.
    return name.lower().removeprefix("application/")


def _audiences(oidc: Oidc) -> frozenset[str]:
    accepted = {oidc.audience} if oidc.audience else set()
    if oidc.resource_uri:
        bare = oidc.resource_uri.removesuffix("/")
        accepted |= {bare, f"{bare}/"}
    return frozenset(accepted)
