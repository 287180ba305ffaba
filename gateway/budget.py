"""A budget of bytes that everybody shares and nobody can use up: who holds less gets in while others are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class Budget:
    """What is held of a number of bytes, in all and by holder.

    A holder may have as much as is then left to the others: one alone half of the budget, two a third each, and so on.
    Whoever comes next may have half of what is free, which is never nothing, so that none can shut out the rest (the
    dynamic threshold of Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998).
    """

    def __init__(self) -> None:
        self._by_holder: dict[str, int] = {}
        self.held = 0
        """How many bytes are held in all."""

    @property
    def holders(self) -> int:
        """How many hold anything."""
        return len(self._by_holder)

    def share(self, holder: str, limit: int) -> Share:
        """Return what a holder takes bytes with, of a budget that is `limit` at the moment; it is empty at first."""
        return Share(self, holder, limit)

    def take(self, holder: str, count: int, limit: int) -> bool:
        """Hold so many bytes more, or say that they are too many."""
        mine = self._by_holder.get(holder, 0) + count
        if mine > limit - self.held - count:
            return False
        self._by_holder[holder] = mine
        self.held += count
        return True

    def give_back(self, holder: str, count: int) -> None:
        """Hold so many bytes less."""
        self.held -= count
        left = self._by_holder.get(holder, 0) - count
        if left > 0:
            self._by_holder[holder] = left
        else:
            self._by_holder.pop(holder, None)


class Share:
    """What is taken within a block, and given back at its end, however it ends."""

    __slots__ = ("_budget", "_holder", "_limit", "_taken")

    def __init__(self, budget: Budget, holder: str, limit: int) -> None:
        self._budget = budget
        self._holder = holder
        self._limit = limit
        self._taken = 0

    def take(self, count: int) -> bool:
        """Take so many bytes more, or say that they are too many."""
        taken = self._budget.take(self._holder, count, self._limit)
        self._taken += count if taken else 0
        return taken

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._budget.give_back(self._holder, self._taken)
