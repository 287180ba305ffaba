"""One OPA bundle: a tar.gz of files, `.manifest`, and `.signatures.json` over both (OPA docs, "Bundles", "Signing").

The same files, revision and metadata make the same archive, except for the signature: ECDSA draws a number.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bundles.signing import SigningKey

# Go's encoder escapes these two and Python's do not, and OPA hashes what Go writes.
LINE_SEPARATORS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"))
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Content:
    """What a bundle says, apart from its revision. Files by archive name; JSON files in canonical form."""

    root: str
    files: Mapping[str, bytes]
    metadata: Mapping[str, Any] = field(default_factory=lambda: NOTHING)

    @classmethod
    def document(cls, root: str, value: Mapping[str, Any]) -> Content:
        """Return the content whose `data.<root>` is the value."""
        return cls(root, {f"{root}/data.json": canonical(value)})

    def digest(self) -> str:
        """Return a SHA-256 over everything in it."""
        total = hashlib.sha256(canonical([self.root, dict(self.metadata)]))
        for name in sorted(self.files):
            total.update(canonical([name, hashlib.sha256(self.files[name]).hexdigest()]))
        return total.hexdigest()


def canonical(value: Any) -> bytes:
    """Return compact JSON with sorted keys, exactly as OPA writes it to take a hash."""
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    for raw, escaped in LINE_SEPARATORS:
        text = text.replace(raw, escaped)
    return text


def build(name: str, content: Content, revision: int, key: SigningKey) -> bytes:
    """Return the archive, signed with the bundle's name as scope, so that none can stand in for another."""
    manifest = {
        "revision": f"r{revision}",
        "roots": [content.root],
        "rego_version": 1,
        "metadata": dict(content.metadata),
    }
    files = {**content.files, ".manifest": canonical(manifest)}
    hashes = [
        {"name": path, "hash": hashlib.sha256(files[path]).hexdigest(), "algorithm": "SHA-256"}
        for path in sorted(files)
    ]
    signature = key.sign({"files": hashes, "scope": name})
    return archive({**files, ".signatures.json": orjson.dumps({"signatures": [signature]})})


def archive(files: Mapping[str, bytes]) -> bytes:
    """Return a tar.gz with no trace of when or by whom it was made."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for path in sorted(files):
            entry = tarfile.TarInfo(path)
            entry.size = len(files[path])
            tar.addfile(entry, io.BytesIO(files[path]))
    return gzip.compress(raw.getvalue(), compresslevel=6, mtime=0)
