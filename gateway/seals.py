"""Values that agents carry for the gateway and can neither read, alter nor use for another: AEAD under shared keys.

Keys are derived (HKDF-SHA256, RFC 5869) from the secret that all gateways of one installation share, one for each
purpose and day, so every replica reads what another has sealed and no key is used for longer than a day.
"""

from __future__ import annotations

import base64
import binascii
import os
import struct
import time
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

if TYPE_CHECKING:
    from collections.abc import Callable

DAY_SECONDS = 86_400
MAX_SECONDS = DAY_SECONDS
"""How long a seal holds at most: yesterday's key is still read, the one before is not."""

_VERSION = 1
_NONCE_BYTES = 12
_HEAD = struct.Struct(">BH")  # version, number of the day
_EXPIRY = struct.Struct(">Q")
_INFO = b"portcullis seal"


class BrokenSeal(ValueError):
    """Not sealed here, or for another purpose or owner, or altered, or its time is over; which one nobody is told."""


class Seals:
    """Seals values and opens them again; `clock` is in seconds since the epoch."""

    def __init__(self, secret: bytes, *, clock: Callable[[], float] = time.time) -> None:
        self._secret = secret
        self._clock = clock
        self._keys: dict[tuple[str, int], AESGCM] = {}

    def seal(self, purpose: str, value: bytes, *, bound_to: bytes, expires_at: float) -> str:
        """Return `value` as url-safe text that opens for this purpose and owner alone, until `expires_at` (seconds).

        Raises ValueError for a time later than `MAX_SECONDS` from now: the key would be gone before.
        """
        now = self._clock()
        if expires_at > now + MAX_SECONDS:
            raise ValueError(f"a seal holds for at most {MAX_SECONDS} s")
        day = int(now) // DAY_SECONDS
        head = _HEAD.pack(_VERSION, day)
        nonce = os.urandom(_NONCE_BYTES)
        text = _EXPIRY.pack(max(0, int(expires_at))) + value
        sealed = self._key(purpose, day).encrypt(nonce, text, _context(head, purpose, bound_to))
        return _encoded(head + nonce + sealed)

    def unseal(self, purpose: str, sealed: str, *, bound_to: bytes) -> bytes:
        """Return what was sealed for this purpose and owner; raises BrokenSeal."""
        raw, now = _decoded(sealed), self._clock()
        version, day = _HEAD.unpack_from(raw)
        # Replicas' clocks may differ a little around midnight.
        if version != _VERSION or abs(int(now) // DAY_SECONDS - day) > 1:
            raise BrokenSeal("of no key that is known")
        head, nonce, text = raw[: _HEAD.size], raw[_HEAD.size :][:_NONCE_BYTES], raw[_HEAD.size + _NONCE_BYTES :]
        try:
            opened = self._key(purpose, day).decrypt(nonce, text, _context(head, purpose, bound_to))
        except InvalidTag:
            raise BrokenSeal("not sealed for this") from None
        if _EXPIRY.unpack_from(opened)[0] <= now:
            raise BrokenSeal("its time is over")
        return opened[_EXPIRY.size :]

    def _key(self, purpose: str, day: int) -> AESGCM:
        key = self._keys.get((purpose, day))
        if key is None:
            self._keys = {known: one for known, one in self._keys.items() if known[1] >= day - 1}
            info = b"%b %b %d" % (_INFO, purpose.encode(), day)
            key = AESGCM(HKDF(SHA256(), length=32, salt=None, info=info).derive(self._secret))
            self._keys[purpose, day] = key
        return key


def _context(head: bytes, purpose: str, bound_to: bytes) -> bytes:
    return b"%b%b\0%b" % (head, purpose.encode(), bound_to)


def _decoded(sealed: str) -> bytes:
    try:
        raw = base64.b64decode(sealed + "=" * (-len(sealed) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise BrokenSeal("not sealed here") from None
    # Several spellings of one value would be several values to whoever keeps a list of them.
    if len(raw) < _HEAD.size + _NONCE_BYTES + _EXPIRY.size or _encoded(raw) != sealed:
        raise BrokenSeal("not sealed here")
    return raw


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
