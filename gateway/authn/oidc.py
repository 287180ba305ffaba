"""JWTs of one issuer (RFC 7519, RFC 9068): read strictly and verified by its keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from joserfc.errors import InvalidKeyIdError, JoseError, UnsupportedAlgorithmError
from joserfc.jws import JWSRegistry, deserialize_compact
from joserfc.util import urlsafe_b64decode

from gateway.authn import claims
from gateway.authn.claims import Verified, bad
from gateway.errors import KeysUnavailable
from gateway.mcp.errors import Malformed
from gateway.mcp.json import decode

if TYPE_CHECKING:
    from joserfc.jwk import KeySet

    from gateway.authn.jwks import KeyCache
    from gateway.config.schema import TrustedIssuer

MAX_TOKEN_BYTES = 8192
# Signatures that need the issuer's private key; the symmetric ones would let anybody sign who can read the JWKS.
ASYMMETRIC = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519", "Ed448"}
)


class Unverified(NamedTuple):
    """What a token says of itself; anybody may have written it."""

    header: dict[str, Any]
    claims: dict[str, Any]


class _Algorithms(JWSRegistry):
    """joserfc's registry with no default list, and silent on EdDSA, whose new names (RFC 9864) few issuers use."""

    max_header_length = 4096
    max_signature_length = 1400

    def get_alg(self, name: str) -> Any:
        if name not in (self.allowed or ()):
            raise UnsupportedAlgorithmError(f"{name} is not allowed")
        return self.algorithms[name]


class Issuer:
    """The verifier of one issuer's tokens under one configuration; `audiences` are those that are good everywhere."""

    def __init__(self, trusted: TrustedIssuer, audiences: frozenset[str], keys: KeyCache) -> None:
        self.audiences = audiences
        self._trusted = trusted
        self._keys = keys
        # Microsoft and others send header parameters that no RFC names; those that matter are judged below.
        self._allowed = ASYMMETRIC.intersection(trusted.algorithms)
        self._algorithms = _Algorithms(algorithms=self._allowed, strict_check_header=False)
        self._types = frozenset(_media_type(name) for name in trusted.token_types)

    async def verify(self, token: str, read: Unverified, digest: bytes, now: float) -> Verified:
        """Return what a token says, which was `read` before; `digest` is the SHA-256 of all of it.

        Raises InvalidCredential, or KeysUnavailable where it cannot be told. The audience is for the caller to judge.
        """
        self._require_header(read.header)
        try:
            payload = await self._verified(token)
        except KeysUnavailable:
            # What is refused for what it says of itself would be refused with any key: nobody is told to wait for one.
            claims.read(read.claims, self._trusted, digest, now)
            raise
        return claims.read(as_object(payload), self._trusted, digest, now)

    async def _verified(self, token: str) -> bytes:
        payload = self._signed(token, await self._keys.current())
        if payload is None:
            payload = self._signed(token, await self._keys.newer())
        if payload is None:
            raise bad("of an unknown key")
        return payload

    def _require_header(self, header: dict[str, Any]) -> None:
        kind = header.get("typ")
        if not isinstance(kind, str) or _media_type(kind) not in self._types:
            raise bad("of another type, or of none")
        # Before any key is asked for: no key of the issuer's makes a token good that is signed in another way.
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in self._allowed:
            raise bad("signed by an algorithm that is not allowed, or by none")
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


def peek(token: str) -> Unverified:
    """Return header and claims before anything is verified: good for choosing who is to verify, and for refusing."""
    segments = token.encode().split(b".")
    if len(segments) != 3 or len(token) > MAX_TOKEN_BYTES:
        raise bad("not three segments of a proper length")
    try:
        return Unverified(as_object(urlsafe_b64decode(segments[0])), as_object(urlsafe_b64decode(segments[1])))
    except ValueError as error:
        raise bad("malformed") from error


def as_object(raw: bytes) -> dict[str, Any]:
    """Return the JSON object that these bytes are to every reader (RFC 8725, section 2.4)."""
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
