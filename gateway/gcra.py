"""How often is too often: the generic cell rate algorithm (ITU-T I.371), one number a key. Pure; time is an argument.

It admits `burst` at once and `per_minute` in the long run, evenly, and keeps for each key the moment at which all that
was admitted will be paid off. A refusal costs nothing, so that whoever waits as told is admitted.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

MAX_KEYS = 10_000
# A wait that is over but for the rounding of clocks, in seconds.
_SLACK = 1e-6
_NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class Rate:
    """So many a minute, of which `burst` may come at once; `interval` is how many seconds one takes to be paid off."""

    per_minute: float
    burst: int
    interval: float = field(init=False)

    def __post_init__(self) -> None:
        if self.per_minute <= 0 or self.burst < 1:
            raise ValueError("a rate admits at least one at once, and some a minute")
        object.__setattr__(self, "interval", 60 / self.per_minute)


def wait(paid_at: float, rate: Rate, now: float) -> float:
    """Return how many seconds to wait for the next one, 0 where it may come now; `paid_at` as `admitted` returns it."""
    ahead = paid_at - now - rate.interval * (rate.burst - 1)
    return ahead if ahead > _SLACK else 0.0


def admitted(paid_at: float, rate: Rate, now: float) -> float:
    """Return when everything will be paid off once one more is admitted; minus infinity is where nothing is owed."""
    return max(paid_at, now) + rate.interval


class Limiter:
    """Rates by key, in bounded memory: beyond `max_keys` the key that was admitted longest ago is forgotten.

    The rate is given with each question, so that another configuration counts at once and nothing paid is forgotten.
    Time is in seconds on any clock that does not run backwards.
    """

    def __init__(self, *, max_keys: int = MAX_KEYS) -> None:
        self._max_keys = max_keys
        self._paid_at: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._paid_at)

    def wait(self, key: Hashable, rate: Rate, now: float) -> float:
        """Return how many seconds `key` has to wait, 0 for not at all; counts nothing."""
        paid_at = self._paid_at.get(key)
        return 0.0 if paid_at is None else wait(paid_at, rate, now)

    def take(self, key: Hashable, rate: Rate, now: float) -> float:
        """Count one and return 0, or count nothing and return how many seconds to wait."""
        paid_at = self._paid_at.get(key, _NEVER)
        if seconds := wait(paid_at, rate, now):
            return seconds
        self._paid_at[key] = admitted(paid_at, rate, now)
        self._paid_at.move_to_end(key)
        if len(self._paid_at) > self._max_keys:
            self._paid_at.popitem(last=False)
        return 0.0
