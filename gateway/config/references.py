"""Secrets by reference, `${env:NAME}` and `${file:/run/secrets/x}`, read once when the configuration is loaded, and
what stands for the caller, `${tenant}` and `${principal}`, filled at each call.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from gateway.config.contents import Terms, expanded, read_file
from gateway.config.values import Secret

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

MAX_SECRET_BYTES = 65536
_REFERENCE = re.compile(r"\$\{([^}]*)\}")


class Claim(StrEnum):
    """What a server may be told of the caller, from the verified principal and nothing else."""

    TENANT = "tenant"
    PRINCIPAL = "principal"


# Of a value with references: text as it is written, a secret, or what is not known before the call.
Part: TypeAlias = str | Secret | Claim


@dataclass(frozen=True, slots=True)
class Fence:
    """The secrets that a file may name which is not the operator's: files in one folder, variables with one prefix.

    Without a folder no file, without a prefix no variable. Paths are relative to that folder.
    """

    secrets_dir: Path | None = None
    env_prefix: str | None = None


@dataclass(frozen=True, slots=True)
class SecretFile:
    """The digest of a secret's file, "" where it could not be read, and on which terms it was."""

    digest: str
    terms: Terms


@dataclass(frozen=True, slots=True)
class Context:
    """What references are resolved against: the folder of the file, the environment, and the fence of a catalog.

    `files` and `variables` collect what was read.
    """

    folder: Path
    environ: Mapping[str, str]
    fence: Fence | None = None
    files: dict[Path, SecretFile] = field(default_factory=dict)
    variables: set[str] = field(default_factory=set)


def parts_of(text: str, context: Context, claims: Collection[Claim] = ()) -> tuple[Part, ...]:
    """Return `text` in its parts, secrets read; raises ValueError naming the reference that cannot be resolved."""
    *pieces, last = _REFERENCE.split(text)
    found: list[Part] = []
    for literal, reference in zip(pieces[::2], pieces[1::2], strict=True):
        found += [literal, _resolved(reference, context, claims)]
    found.append(last)
    if any(isinstance(one, str) and not isinstance(one, Claim) and "${" in one for one in found):
        raise ValueError("a reference is not closed; write ${env:NAME} or ${file:/run/secrets/name}")
    return tuple(one for one in found if one != "")


def _resolved(reference: str, context: Context, claims: Collection[Claim]) -> Secret | Claim:
    if reference in tuple(Claim):
        if reference not in claims:
            raise ValueError(f"${{{reference}}} is not known here; {_known(claims)}")
        return Claim(reference)
    kind, _, name = reference.partition(":")
    if kind == "env" and name:
        return Secret(f"${{{reference}}}", _environment(name, context))
    if kind == "file" and name:
        return Secret(f"${{{reference}}}", _file(name, context))
    raise ValueError(f"${{{reference}}} is not a reference; {_known(claims)}")


def _known(claims: Collection[Claim]) -> str:
    return "write " + ", ".join(("${env:NAME}", "${file:/run/secrets/name}", *(f"${{{claim}}}" for claim in claims)))


def _environment(name: str, context: Context) -> str:
    if context.fence:
        _require_prefix(name, context.fence.env_prefix)
    context.variables.add(name)
    value = context.environ.get(name, "")
    if not value:
        raise ValueError(f"the environment variable {name} is not set; set it before the start")
    return value


def _require_prefix(name: str, prefix: str | None) -> None:
    if prefix is None:
        raise ValueError("a catalog may read no variable before its tenant has an env_prefix in tenants.yaml")
    if not name.startswith(prefix):
        raise ValueError(f"this catalog may read only variables that begin with {prefix}")


def _file(name: str, context: Context) -> str:
    folder = _fenced(context.fence) if context.fence else context.folder
    path = folder / expanded(Path(name))
    terms = Terms(MAX_SECRET_BYTES, (folder,) if context.fence else ())
    # Watched from now on, also where it is not there yet.
    context.files[path] = SecretFile("", terms)
    try:
        data = read_file(path, terms)
    except OSError as error:
        raise ValueError(f"the file {path} cannot be read: {error.strerror}") from error
    context.files[path] = SecretFile(hashlib.sha256(data).hexdigest(), terms)
    value = data.decode("latin-1").rstrip("\r\n")
    if not value or len(data) > MAX_SECRET_BYTES:
        raise ValueError(f"the file {path} is empty or larger than {MAX_SECRET_BYTES} bytes")
    return value


def _fenced(fence: Fence) -> Path:
    if fence.secrets_dir is None:
        raise ValueError("a catalog may read no file before its tenant has a secrets_dir in tenants.yaml")
    return fence.secrets_dir
