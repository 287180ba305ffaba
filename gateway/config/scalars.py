"""Scalars of YAML: what a word is read as, and when that is not what its writer meant."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import Any

import yaml

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")

_TAG = "tag:yaml.org,2002:"
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?[0-9]*\.?[0-9]+([eE][-+]?[0-9]+)?")
_TRUE = frozenset(("true", "yes", "on"))
_RESOLVERS = yaml.CSafeLoader.yaml_implicit_resolvers
_NAMES = {
    "bool": "true or false",
    "int": "a number",
    "float": "a number",
    "null": "nothing",
    "timestamp": "a date",
    "value": "a special key",
    "merge": "a merge key",
}


@dataclass(frozen=True, slots=True)
class Scalar:
    """A scalar as it was written: `kind` is what YAML 1.1 takes it for (`int`, `bool`, `timestamp` …)."""

    kind: str
    raw: str


@dataclass(frozen=True, slots=True)
class Surprise:
    """Stands where YAML 1.1 reads a number or a date that its writer hardly meant; no field takes it."""

    raw: str


class Scalars:
    """Reads scalars, each word once, and keeps it once: ten thousand catalogs have the same hundred words."""

    def __init__(self) -> None:
        self._plain: dict[str, tuple[Any, Scalar | None]] = {}
        self._quoted: dict[str, tuple[Any, Scalar | None]] = {}

    def read(self, raw: str, *, plain: bool) -> tuple[Any, Scalar | None] | None:
        """Return the value of a word, and how it is written where YAML takes it for anything but text.

        None for a word with a control character in it.
        """
        known = self._plain if plain else self._quoted
        found = known.get(raw)
        if found is None and not _CONTROL.search(raw):
            word = sys.intern(raw)
            found = known[word] = _read(word) if plain else (word, None)
        return found


def _read(raw: str) -> tuple[Any, Scalar | None]:
    kind = _kind(raw)
    return (raw, None) if kind == "str" else (_value(kind, raw), Scalar(kind, raw))


def _kind(raw: str) -> str:
    for tag, pattern in (*_RESOLVERS.get(raw[:1], ()), *_RESOLVERS.get(None, ())):
        if pattern.match(raw):
            return str(tag).removeprefix(_TAG)
    return "str"


def _value(kind: str, raw: str) -> Any:
    if kind == "null":
        return None
    if kind == "bool":
        return raw.lower() in _TRUE
    if kind == "int" and _DECIMAL.fullmatch(raw) and len(raw) <= 20:
        return int(raw)
    if kind == "float" and _FLOAT.fullmatch(raw):
        return float(raw)
    return Surprise(raw)


def misread(scalar: Scalar) -> str:
    """Say what YAML 1.1 makes of a bare word that its writer meant as text."""
    return f'YAML reads {scalar.raw} as {_NAMES.get(scalar.kind, scalar.kind)}; put it in quotes: "{scalar.raw}"'
