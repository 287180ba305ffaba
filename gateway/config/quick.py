"""YAML as plain data and nothing else, for files without a mistake: those of ten thousand tenants are read by it.

It refuses whatever `document.py` would, without saying what; that is then read again to be told about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config.scalars import Scalars


class Suspicious(Exception):
    """There is something in the text that has to be looked at closely."""


def quick(text: str, max_depth: int, scalars: Scalars) -> Any:
    """Return the data of a text; raises Suspicious, YAMLError."""
    return _Reader(text, scalars).read(max_depth)


class _Reader:
    def __init__(self, text: str, scalars: Scalars) -> None:
        self._next: Callable[[], Any] = yaml.CSafeLoader(text).get_event
        self._scalar = scalars.read

    def read(self, max_depth: int) -> Any:
        self._next()  # the start of the stream
        if type(self._next()) is not DocumentStartEvent:
            return None
        data = self._value(self._next(), max_depth)
        self._next()
        if type(self._next()) is DocumentStartEvent:
            raise Suspicious
        return data

    def _value(self, event: Any, depth: int) -> Any:
        kind = type(event)
        if kind is AliasEvent or event.anchor is not None or event.tag is not None:
            raise Suspicious
        if kind is ScalarEvent:
            found = self._scalar(event.value, plain=event.implicit[0])
            if found is None:
                raise Suspicious
            return found[0]
        if depth == 0:
            raise Suspicious
        return self._mapping(depth - 1) if kind is MappingStartEvent else self._sequence(depth - 1)

    def _mapping(self, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while type(event := self._next()) is not MappingEndEvent:
            key = self._value(event, 0)
            if type(key) is not str or key in values:
                raise Suspicious
            values[key] = self._value(self._next(), depth)
        return values

    def _sequence(self, depth: int) -> list[Any]:
        values: list[Any] = []
        while type(event := self._next()) is not SequenceEndEvent:
            values.append(self._value(event, depth))
        return values
