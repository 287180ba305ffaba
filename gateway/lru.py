"""Values that may be made again, kept while there is room: those that were not asked for the longest go first."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

K = TypeVar("K", bound="Hashable")
V = TypeVar("V")


class Lru(Generic[K, V]):
    """At most `max_bytes` of values, each as large as `size` says; one that is larger alone is not kept."""

    def __init__(self, max_bytes: int, size: Callable[[V], int]) -> None:
        self._max = max_bytes
        self._size = size
        self._bytes = 0
        self._values: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        """Return the value kept under a key, None where there is none."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        """Keep a value, in the place of others if need be."""
        self._forget(key)
        size = self._size(value)
        if size > self._max:
            return
        self._values[key] = value
        self._bytes += size
        while self._bytes > self._max:
            self._forget(next(iter(self._values)))

    def clear(self) -> None:
        """Forget every value."""
        self._values.clear()
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """How large all kept values are together."""
        return self._bytes

    def _forget(self, key: K) -> None:
        gone = self._values.pop(key, None)
        if gone is not None:
            self._bytes -= self._size(gone)
