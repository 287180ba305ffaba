"""The key that signs bundles: ES256, in a PEM file that only sync can read, with its public half beside it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jws
from joserfc.jwk import ECKey

from gateway.errors import ConfigError, Mistake

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.config import Config
    from gateway.state import StateDir

PUBLIC = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
PRIVATE = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def key_id(public: ec.EllipticCurvePublicKey) -> str:
    """Return `sync-` and 16 hex digits of the SHA-256 of the key's DER: OPA finds the key of a bundle by it."""
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return f"sync-{hashlib.sha256(der).hexdigest()[:16]}"


class SigningKey:
    """An ES256 key and its id."""

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self.id = key_id(private.public_key())
        self.public_pem = private.public_key().public_bytes(*PUBLIC).decode()
        self._key = ECKey.import_key(private.private_bytes(*PRIVATE))

    @classmethod
    def generate(cls) -> SigningKey:
        """Return a new key that is in no file."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def load(cls, path: Path) -> SigningKey:
        """Read a key file; raises ConfigError where it is not an unencrypted P-256 private key in PEM."""
        try:
            private = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise _unusable(path, str(error)) from error
        if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP256R1):
            raise _unusable(path, "it is not a P-256 private key")
        return cls(private)

    def sign(self, payload: Mapping[str, Any]) -> str:
        """Return the payload as a compact JWS."""
        header = {"alg": "ES256", "typ": "JWT", "kid": self.id}
        return jws.serialize_compact(header, orjson.dumps(payload), self._key)


def ensure_key(config: Config, state: StateDir) -> SigningKey:
    """Return the key that bundles are signed with, made on first use; its public half goes to the state directory."""
    private, _ = state.signing_keys(config.sync.signing_key_file)
    return SigningKey.load(private)


def verification_keys(folder: Path) -> dict[str, str]:
    """Return every `*.pub.pem` of the folder by key id: the current key, and others while keys change."""
    keys = {}
    for path in sorted(folder.glob("*.pub.pem")):
        text = path.read_text()
        keys[public_key_id(path, text)] = text
    return keys


def public_key_id(path: Path, pem: str) -> str:
    """Return the id of a public key in PEM; raises ConfigError where it is no P-256 public key."""
    try:
        public = serialization.load_pem_public_key(pem.encode())
    except ValueError as error:
        raise _unusable(path, str(error)) from error
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise _unusable(path, "it is not a P-256 public key; remove it, or put the right one there")
    return key_id(public)


def _unusable(path: Path, why: str) -> ConfigError:
    return ConfigError((Mistake(str(path), "", None, f"holds no key to use here: {why}"),))
