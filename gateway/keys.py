"""Keys and tokens as text, each with 32 random bytes, url-safe (43 characters); only their SHA-256 is kept.

An API key is `mcp_`, those, and 6 of checksum (CRC-32 in base 62), which lets a mistyped key be told from a wrong one
without looking anything up, and secret scanners be exact. A tenant token is `mcpt_` and those, 48 characters.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

PREFIX = "mcp_"
TOKEN_PREFIX = "mcpt_"  # noqa: S105 (no secret: what every one begins with)
SHOWN_CHARACTERS = 12
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FORM = re.compile(r"mcp_[A-Za-z0-9_-]{43}[0-9A-Za-z]{6}")
_TOKEN_FORM = re.compile(r"mcpt_[A-Za-z0-9_-]{43}")


def mint() -> str:
    """Return a new key, 53 characters."""
    body = secrets.token_urlsafe(32)
    return PREFIX + body + checksum(body)


def mint_token() -> str:
    """Return a new tenant token, 48 characters."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def looks_like_token(text: str) -> bool:
    """Whether `text` has the form of a tenant token; says nothing of whether it was ever issued."""
    return bool(_TOKEN_FORM.fullmatch(text))


def looks_like_key(text: str) -> bool:
    """Whether `text` has the form of a key and its checksum is right; says nothing of whether it was ever issued."""
    return bool(_FORM.fullmatch(text)) and checksum(text[len(PREFIX) : -6]) == text[-6:]


def sha256(text: str) -> str:
    """Return the SHA-256 of a secret in hexadecimal, the only form in which it is kept."""
    return hashlib.sha256(text.encode()).hexdigest()


def digest(text: str) -> bytes:
    """Return the SHA-256 of a secret as its 32 bytes, by which it is looked up."""
    return hashlib.sha256(text.encode()).digest()


def shown(key: str) -> str:
    """Return the part of a key or token that lists may show."""
    return key[:SHOWN_CHARACTERS]


def scope_of(tools: Iterable[str]) -> str:
    """Return the name of what a token's globs admit: the same for the same globs, whoever works it out."""
    return sha256("\n".join(sorted(set(tools))))[:16]


def new_id() -> str:
    """Return an id for a credential; it is no secret."""
    return f"c_{secrets.token_hex(8)}"


def checksum(body: str) -> str:
    """Return the CRC-32 of `body` as six digits of base 62."""
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = _DIGITS[digit] + digits
    return digits
