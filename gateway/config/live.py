"""The live cell: the one place where a reload replaces a value. A request reads it once."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Live(Generic[T]):
    """A value that a reload replaces whole; of one event loop."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value
        """The value in force."""

    def set(self, value: T) -> None:
        """Put `value` in force."""
        self.value = value
