"""YAML read closely: the line of every key and item, and what the fence has against each of them."""

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

from gateway.config.scalars import Scalar, Scalars, Surprise, misread

if TYPE_CHECKING:
    from collections.abc import Callable

    # Says what is wrong at a path of keys, on a line.
    Refuse = Callable[[tuple[str | int, ...], int, str], None]

# Where a key or an item stands, and what is below it: marks by key, marks in order, or a scalar as it is written. A
# scalar that is plainly text has None.
Mark = tuple[int, Any]
Below = dict[str, Mark] | list[Mark] | Scalar | None


class TooDeep(Exception):
    """The text is nested deeper than it may be, first on this line."""

    def __init__(self, line: int) -> None:
        self.line = line
        super().__init__(line)


class Reader:
    """Builds data and marks from the parser's events, in one pass.

    An alias is never followed, so a bomb costs nothing.
    """

    def __init__(self, text: str, refuse: Refuse, max_depth: int) -> None:
        self._next: Callable[[], Any] = yaml.CSafeLoader(text).get_event
        self._say = refuse
        self._refused = 0
        self._max_depth = max_depth
        self._scalars = Scalars()
        self._path: list[str | int] = []
        self._fenced = False

    def read(self) -> tuple[Any, Below]:
        """Return the data and its marks, neither where the fence refuses the text; raises TooDeep, YAMLError."""
        self._next()  # the start of the stream
        if type(self._next()) is not DocumentStartEvent:
            return None, None
        data, marks = self._value(self._next())
        self._next()
        if type(another := self._next()) is DocumentStartEvent:
            self._fence(another, "holds more than one YAML document; keep the first and remove ---")
        return (None, None) if self._fenced else (data, marks)

    def _value(self, event: Any) -> tuple[Any, Below]:
        """Return the value that begins with this event, and what is to be said of it."""
        if event.anchor is not None:
            name = event.anchor
            self._fence(event, f"anchors and aliases (&{name}, *{name}) are not read; write the value out")
        kind = type(event)
        if kind is AliasEvent:
            return None, None
        if event.tag is not None:
            self._fence(event, f"tags ({event.tag}) are not read; write a plain value")
        if kind is ScalarEvent:
            return self._scalars.read(event.value, plain=event.implicit[0]) or self._controlled(event)
        if len(self._path) >= self._max_depth:
            raise TooDeep(_line(event))
        return self._mapping() if kind is MappingStartEvent else self._sequence()

    def _controlled(self, event: Any) -> tuple[Any, Below]:
        self._refuse(_line(event), "holds a control character; remove it")
        return Surprise(event.value), None

    def _sequence(self) -> tuple[list[Any], list[Mark]]:
        values: list[Any] = []
        marks: list[Mark] = []
        self._path.append(0)
        while type(event := self._next()) is not SequenceEndEvent:
            self._path[-1] = len(values)
            value, below = self._value(event)
            values.append(value)
            marks.append((_line(event), below))
        self._path.pop()
        return values, marks

    def _mapping(self) -> tuple[dict[str, Any], dict[str, Mark]]:
        values: dict[str, Any] = {}
        marks: dict[str, Mark] = {}
        while type(event := self._next()) is not MappingEndEvent:
            key, line = self._key(event), _line(event)
            self._path.append(key or "")
            value, below = self._value(self._next())
            if key in values:
                message = f"is there twice, first on line {marks[key][0]}; keep one"
                self._refuse(line, message)
            elif key is not None:
                values[key], marks[key] = value, (line, below)
            self._path.pop()
        return values, marks

    def _key(self, event: Any) -> str | None:
        """Return a key, None for what is none; that has been refused then."""
        if type(event) is ScalarEvent and event.anchor is None and event.tag is None:
            value, scalar = self._scalars.read(event.value, plain=event.implicit[0]) or (None, None)
            if scalar is None and value is not None:
                return str(value)
            self._refuse_key(event, scalar)
            return None
        before, self._refused = self._refused, 0
        self._value(event)
        if not self._refused:
            self._refuse_key(event, None)
        self._refused += before
        return None

    def _refuse_key(self, event: Any, scalar: Scalar | None) -> None:
        message = "a key must be plain text"
        if scalar is not None:
            merge = "merge keys (<<) are not read; write the keys out"
            message = merge if scalar.kind == "merge" else f"in a key, {misread(scalar)}"
        self._refuse(_line(event), message)

    def _fence(self, event: Any, message: str) -> None:
        self._fenced = True
        self._refused += 1
        self._say((), _line(event), message)

    def _refuse(self, line: int, message: str) -> None:
        self._refused += 1
        self._say(tuple(self._path), line, message)


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
