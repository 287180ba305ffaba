"""config.yaml whole or not at all: read, checked, hashed."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gateway.config import document as yaml_document
from gateway.config.references import Context, digest, read
from gateway.config.validate import validated
from gateway.config.warnings import warnings
from gateway.errors import ConfigError, Mistake

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from gateway.config.schema import Config

# What belongs to one machine and not to the meaning that replicas share; the hash leaves it out.
MACHINE_LOCAL: tuple[tuple[str, ...], ...] = (
    ("server", "host"), ("server", "port"), ("server", "tls"), ("auth", "opa", "url"), ("opa", "binary"),
    ("opa", "replica"), ("opa", "custom_policies"), ("sync",), ("storage",), ("audit", "file"),
    ("metrics",), ("logging",),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that holds together; `files` are config.yaml and the secrets' files that it was read from.

    `digest` is of their contents: not of the meaning, as `hash` is.
    """

    config: Config
    hash: str
    path: Path
    warnings: tuple[str, ...]
    files: tuple[Path, ...] = ()
    digest: str = field(default="", repr=False)
    overrides: tuple[str | None, int | None] = (None, None)

    def with_server(self, host: str | None = None, port: int | None = None) -> Loaded:
        """Return the same with the listener's host or port replaced, as `--host` and `--port` do."""
        overrides = (host or self.overrides[0], self.overrides[1] if port is None else port)
        changes: dict[str, Any] = dict(zip(("host", "port"), overrides, strict=True))
        server = self.config.server.model_copy(update={key: one for key, one in changes.items() if one is not None})
        config = self.config.model_copy(update={"server": server})
        return replace(self, config=config, warnings=tuple(warnings(config)), overrides=overrides)


def load(
    path: Path, environ: Mapping[str, str] | None = None, documents: Callable[[Path, int], bytes] = read
) -> Loaded:
    """Read config.yaml, by `documents` from elsewhere than the disk; raises ConfigError with every mistake in it."""
    environ = os.environ if environ is None else environ
    context = Context(path.absolute().parent, environ, documents=documents)
    raw = _read(path, context)
    document = yaml_document.parse(raw, str(path))
    mistakes = list(document.mistakes)
    config = None
    if isinstance(document.data, dict):
        config, found = validated(document, context)
        mistakes += found
    elif not mistakes:
        what = "is empty" if document.data is None else "must be a mapping (key: value)"
        mistakes.append(Mistake(document.file, "", None, f"{what}; see docs/configuration.md for an example"))
    if mistakes or config is None:
        raise ConfigError(tuple(sorted(mistakes, key=lambda one: one.line or 0)))
    files = tuple(sorted(context.files))
    return Loaded(config, meaning_hash(config), path, tuple(warnings(config)), files, digest(context.files))


def _read(path: Path, context: Context) -> bytes:
    try:
        raw = context.documents(path.absolute(), yaml_document.MAX_BYTES)
    except OSError as error:
        absent = "; write one, or name another with --config" if isinstance(error, FileNotFoundError) else ""
        raise ConfigError((Mistake(str(path), "", None, f"cannot be read: {error.strerror}{absent}"),)) from error
    context.files[path.absolute()] = raw
    return raw


def meaning_hash(config: Config) -> str:
    """Return the SHA-256 of what the configuration means: no order, formatting, secrets, nothing of one machine."""
    meaning = config.model_dump(mode="python", exclude_defaults=True)
    for path in MACHINE_LOCAL:
        _drop(meaning, path)
    return hashlib.sha256(_canonical(meaning).encode()).hexdigest()


def _drop(meaning: dict[str, Any], path: tuple[str, ...]) -> None:
    first, *rest = path
    if not rest:
        meaning.pop(first, None)
    elif first in meaning:
        _drop(meaning[first], tuple(rest))
        if not meaning[first]:
            del meaning[first]


def _canonical(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{_canonical(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, tuple | list):
        return "[" + ",".join(sorted({_canonical(one) for one in value})) + "]"
    return json.dumps(value if isinstance(value, bool | int | float | None) else str(value))
