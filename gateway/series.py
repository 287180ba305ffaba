"""Counters and histograms as plain numbers, which prometheus_client collects when somebody reads them.

Its own take a lock and four calls for each step, for threads; these are of one event loop.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prometheus_client import CollectorRegistry

Labels = tuple[str, ...]


class Counter(Collector):
    """A number that only grows, for each combination of labels."""

    def __init__(self, registry: CollectorRegistry, name: str, text: str, labels: Sequence[str]) -> None:
        self._about = (name, text)
        self._labels = labels
        self._values: defaultdict[Labels, int] = defaultdict(int)
        registry.register(self)

    def add(self, labels: Labels, count: int = 1) -> None:
        """Count so many more."""
        self._values[labels] += count

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield the samples."""
        family = CounterMetricFamily(*self._about, labels=self._labels)
        for labels, value in self._values.items():
            family.add_metric(labels, value)
        yield family


class Histogram(Collector):
    """How often a value was at most so much, for each bound and each combination of labels."""

    def __init__(
        self, registry: CollectorRegistry, name: str, text: str, labels: Sequence[str], bounds: Sequence[float]
    ) -> None:
        self._about = (name, text)
        self._labels = labels
        self._bounds = tuple(bounds)
        self._counts: defaultdict[Labels, list[int]] = defaultdict(lambda: [0] * (len(self._bounds) + 1))
        self._sums: defaultdict[Labels, float] = defaultdict(float)
        registry.register(self)

    def observe(self, labels: Labels, value: float) -> None:
        """Count a value."""
        self._counts[labels][bisect_left(self._bounds, value)] += 1
        self._sums[labels] += value

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the samples."""
        family = HistogramMetricFamily(*self._about, labels=self._labels)
        names = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        for labels, counts in self._counts.items():
            family.add_metric(labels, list(zip(names, accumulate(counts), strict=True)), self._sums[labels])
        yield family
