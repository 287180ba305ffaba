"""Secrets by reference: `${env:NAME}` and `${file:/run/secrets/x}`, read once when the configuration is loaded."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.config.values import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_SECRET_BYTES = 65536
_REFERENCE = re.compile(r"\$\{([^}]*)\}")
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def read(path: Path, limit: int) -> bytes:
    """Return a file's content, at most one byte more than `limit`; raises OSError."""
    with path.open("rb") as stream:
        return stream.read(limit + 1)


@dataclass(frozen=True, slots=True)
class Context:
    """What references are resolved against: the folder of the file, the environment; `files` collects what was read.

    `documents` reads the configuration's own files as `read` does, which is all that is ever taken from elsewhere.
    """

    folder: Path
    environ: Mapping[str, str]
    files: dict[Path, bytes] = field(default_factory=dict)
    documents: Callable[[Path, int], bytes] = read


def digest(files: Mapping[Path, bytes]) -> str:
    """Return the SHA-256 of files' contents, by which a change is noticed."""
    sha256 = hashlib.sha256()
    for path, content in sorted(files.items()):
        sha256.update(f"{path}\0{len(content)}\0".encode() + content)
    return sha256.hexdigest()


def resolve(text: str, context: Context) -> Secret | str:
    """Return `text` with its references replaced, as a Secret; without any, return it as it is.

    Raises ValueError naming the reference that cannot be resolved.
    """
    value = _REFERENCE.sub(lambda match: _one(match.group(1), context), text)
    if "${" in _REFERENCE.sub("", text):
        raise ValueError("a reference is not closed; write ${env:NAME} or ${file:/run/secrets/name}")
    if not _FIELD_VALUE.fullmatch(value):
        raise ValueError("holds a line break or another character that no header may have")
    return Secret(text, value) if _REFERENCE.search(text) else text


def _one(reference: str, context: Context) -> str:
    kind, _, name = reference.partition(":")
    if kind == "env" and name:
        return _environment(name, context)
    if kind == "file" and name:
        return _file(name, context)
    raise ValueError(f"${{{reference}}} is not a reference; write ${{env:NAME}} or ${{file:/run/secrets/name}}")


def _environment(name: str, context: Context) -> str:
    value = context.environ.get(name, "")
    if not value:
        raise ValueError(f"the environment variable {name} is not set; set it before the start")
    return value


def _file(name: str, context: Context) -> str:
    path = context.folder / Path(name).expanduser()
    try:
        data = read(path, MAX_SECRET_BYTES)
    except OSError as error:
        raise ValueError(f"the file {path} cannot be read: {error.strerror}") from error
    context.files[path] = data
    value = data.decode("latin-1").rstrip("\r\n")
    if not value or len(data) > MAX_SECRET_BYTES:
        raise ValueError(f"the file {path} is empty or larger than {MAX_SECRET_BYTES} bytes")
    return value
