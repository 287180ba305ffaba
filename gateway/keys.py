"""API keys as text: `mcp_`, 32 random bytes url-safe (43 characters), 6 of checksum (CRC-32 in base 62).

The checksum lets a mistyped key be told from a wrong one without looking anything up, and secret scanners be exact.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib

PREFIX = "mcp_"
SHOWN_CHARACTERS = 12
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FORM = re.compile(r"mcp_[A-Za-z0-9_-]{43}[0-9A-Za-z]{6}")


def mint() -> str:
    """Return a new key, 53 characters."""
    body = secrets.token_urlsafe(32)
    return PREFIX + body + checksum(body)


def looks_like_key(text: str) -> bool:
    """Whether `text` has the form of a key and its checksum is right; says nothing of whether it was ever issued."""
    return bool(_FORM.fullmatch(text)) and checksum(text[len(PREFIX) : -6]) == text[-6:]


def sha256(text: str) -> str:
    """Return the SHA-256 of a secret in hexadecimal, the only form in which it is kept."""
    return hashlib.sha256(text.encode()).hexdigest()


def shown(key: str) -> str:
    """Return the part of a key that lists may show."""
    return key[:SHOWN_CHARACTERS]


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
