"""Which credential a request carries: exactly one, in a header, or none."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from gateway.errors import AmbiguousCredential, InvalidCredential

if TYPE_CHECKING:
    from collections.abc import Iterable

    from multidict import CIMultiDict, CIMultiDictProxy

MAX_CREDENTIAL_BYTES = 8192
# RFC 6750, section 2.1: b64token, the only form a bearer token may have; also the alphabet of our own keys.
TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
QUERY_NAMES = frozenset(
    {"accesstoken", "apikey", "auth", "authorization", "authtoken", "bearer", "idtoken", "jwt", "token", "xapikey"}
)


@dataclass(frozen=True, slots=True)
class Presented:
    """The one credential of a request and the way it came; the secret is kept out of every representation."""

    secret: str = field(repr=False)
    via: Literal["bearer", "header"]


def present(
    headers: CIMultiDict[str] | CIMultiDictProxy[str], query: Iterable[str], api_key_header: str
) -> Presented | None:
    """Return the only credential of a request, None where there is none.

    Raises AmbiguousCredential for two of them or one in the query string (OAuth 2.1 forbids it: queries are logged),
    InvalidCredential for one that cannot be good. Header names are compared as HTTP does; a name with underscores in
    place of hyphens is another header and says nothing.
    """
    if any(_folded(name) in QUERY_NAMES for name in query):
        raise AmbiguousCredential("a credential in the query string")
    authorization = headers.getall("Authorization", ())
    keys = headers.getall(api_key_header, ())
    if len(authorization) + len(keys) > 1:
        raise AmbiguousCredential(f"{len(authorization)} Authorization and {len(keys)} {api_key_header} headers")
    if authorization:
        return Presented(_checked(_bearer(authorization[0])), "bearer")
    if keys:
        return Presented(_checked(keys[0].strip(" \t")), "header")
    return None


def _folded(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _bearer(value: str) -> str:
    scheme, _, token = value.strip(" \t").partition(" ")
    if scheme.lower() != "bearer":
        raise InvalidCredential("an Authorization scheme other than Bearer")
    return token.strip(" ")


def _checked(secret: str) -> str:
    if len(secret) > MAX_CREDENTIAL_BYTES:
        raise InvalidCredential(f"longer than {MAX_CREDENTIAL_BYTES} bytes")
    if not TOKEN.fullmatch(secret):
        raise InvalidCredential("empty, or not made of the characters of a token")
    return secret
