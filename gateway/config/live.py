"""The live cell: the one place where a reload replaces a value. A request reads it once."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Live(Generic[T]):
    """A value that a reload replaces whole; of one event loop."""

    def __init__(self, value: T) -> None:
        self._value = value

    @property
    def value(self) -> T:
        """The value in force."""
        return self._value

    def set(self, value: T) -> None:
        """Put `value` in force."""
        self._value = value
