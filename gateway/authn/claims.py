"""What a token that is really its issuer's must also say before it speaks for anybody. Pure rules, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.errors import ExpiredToken, InvalidCredential
from gateway.ids import TENANT_ID
from gateway.model import CredentialKind, CredentialRef, Principal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config.schema import TrustedIssuer

MAX_LIFETIME_SECONDS = 24 * 3600
MAX_GROUPS = 100
MAX_SUBJECT, MAX_NAME = 255, 256
LAST_DATE = 253402300799  # the end of 9999
# Only ID tokens carry the hashes and the nonce (OpenID Connect Core, section 2), only security events `events`
# (RFC 8417); a token bound to a key by `cnf` (RFC 7800) would here degrade to one that anybody may carry.
FOREIGN_CLAIMS = ("nonce", "at_hash", "c_hash", "s_hash", "events", "cnf")
# What Keycloak and Cognito call an access token; their ID, refresh and offline tokens bear other names.
ACCESS_MARKS = {"typ": frozenset({"bearer", "jwt", "at+jwt"}), "token_use": frozenset({"access"})}


@dataclass(frozen=True, slots=True)
class Verified:
    """A principal with the conditions of its token: where it may be used, and until when (seconds)."""

    principal: Principal
    audiences: frozenset[str]
    expires_at: float


def bad(why: str) -> InvalidCredential:
    """Return the error for a token; `why` is for the audit trail alone."""
    return InvalidCredential(why, CredentialKind.JWT)


def read(claims: Mapping[str, Any], trusted: TrustedIssuer, digest: bytes, now: float) -> Verified:
    """Return whom the claims speak for; InvalidCredential where one is missing, malformed or out of its time.

    The audience is returned, not judged: it depends on the endpoint called.
    """
    if not trusted.issuer or claims.get("iss") != trusted.issuer:
        raise bad("of another issuer")
    _require_access_token(claims)
    expires_at = _require_current(claims, trusted.leeway_seconds, now)
    subject = _text(claims, trusted.subject_claim, MAX_SUBJECT)
    if subject != subject.strip():
        raise bad(f"{trusted.subject_claim} has blanks at an end")
    principal = Principal(
        subject=f"user:{subject}",
        kind=CredentialKind.JWT,
        tenant=_tenant(claims, trusted),
        issuer=trusted.issuer,
        groups=_groups(claims, trusted.groups_claim),
        scopes=_scopes(claims),
        credential=CredentialRef(_credential_id(claims, digest), expires_at=int(expires_at)),
    )
    return Verified(principal, _audiences(claims), expires_at)


def _require_access_token(claims: Mapping[str, Any]) -> None:
    for name in FOREIGN_CLAIMS:
        if name in claims:
            raise bad(f"{name} marks another kind of token")
    for name, marks in ACCESS_MARKS.items():
        mark = claims.get(name)
        if name in claims and not (isinstance(mark, str) and mark.lower() in marks):
            raise bad(f"{name} does not mark an access token")


def _require_current(claims: Mapping[str, Any], leeway: float, now: float) -> float:
    expires_at, issued_at = _date(claims, "exp"), _date(claims, "iat")
    if expires_at <= now - leeway:
        raise ExpiredToken("expired", CredentialKind.JWT)
    if issued_at > now + leeway:
        raise bad("issued in the future")
    if expires_at - issued_at > MAX_LIFETIME_SECONDS:
        raise bad(f"valid for more than {MAX_LIFETIME_SECONDS} s")
    if "nbf" in claims and _date(claims, "nbf") > now + leeway:
        raise bad("not valid yet")
    return expires_at


def _date(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    # NaN is in no range; the far end is bounded because an integer of 400 digits overflows arithmetic with floats.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LAST_DATE:
        raise bad(f"{name} is not a date")
    return value


def _is_text(value: object, longest: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= longest and value.isprintable()


def _text(claims: Mapping[str, Any], name: str, longest: int) -> str:
    value = claims.get(name)
    if not _is_text(value, longest):
        raise bad(f"{name} is not 1 to {longest} printable characters")
    return str(value)


def _texts(value: object, name: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(_is_text(one, MAX_NAME) for one in value):
        raise bad(f"{name} is not a list of names")
    return tuple(value)


def _tenant(claims: Mapping[str, Any], trusted: TrustedIssuer) -> str | None:
    if trusted.tenant_claim not in claims:
        return None
    tenant = claims[trusted.tenant_claim]
    # `null` too is refused: in egress a caller without tenant may see more than one with a tenant.
    if not isinstance(tenant, str) or not TENANT_ID.fullmatch(tenant):
        raise bad(f"{trusted.tenant_claim} is not a tenant id")
    if trusted.tenants and tenant not in trusted.tenants:
        raise bad("this issuer may not speak for that tenant")
    return tenant


def _groups(claims: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = claims.get(name, [])
    return _texts([value] if isinstance(value, str) else value, name)[:MAX_GROUPS]


def _scopes(claims: Mapping[str, Any]) -> tuple[str, ...]:
    name = "scope" if "scope" in claims else "scp"
    value = claims.get(name, [])
    return _texts(value.split() if isinstance(value, str) else value, name)[:MAX_GROUPS]


def _audiences(claims: Mapping[str, Any]) -> frozenset[str]:
    value = claims.get("aud")
    return frozenset(_texts([value] if isinstance(value, str) else value, "aud"))


def _credential_id(claims: Mapping[str, Any], digest: bytes) -> str:
    # The prefix keeps ids that an issuer chooses apart from the ids of keys, which revocations go by.
    return f"jwt:{_text(claims, 'jti', MAX_SUBJECT)}" if "jti" in claims else f"jwt:{digest.hex()[:32]}"
