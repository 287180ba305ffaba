"""Series as plain numbers of one event loop, written as text when somebody asks for them.

prometheus_client's own take a lock and four calls for each step, for threads, and write a hundred thousand samples in
half a second that nobody else gets. These are written line by line, so that whoever collects them can pause.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

Labels = tuple[str, ...]
OTHER = "other"
_number: Callable[[float], str] = floatToGoString
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class Series(Protocol):
    """A family of samples under one name."""

    @property
    def about(self) -> About:
        """What the family is."""

    def lines(self, wanted: Wanted | None = None) -> Iterator[str]:
        """Yield its samples in the text format, or those that are wanted; an empty string for each that is not."""


class Wanted(Protocol):
    """Which samples of a family somebody wants."""

    def __call__(self, names: Sequence[str]) -> Callable[[Labels], bool] | None:
        """Return what says it of a sample, by the values of its labels; None where none of these labels says it."""


class About:
    """What a family is: its name without a suffix, what it counts, its labels in alphabetical order."""

    def __init__(self, name: str, text: str, labels: Sequence[str], kind: str) -> None:
        assert list(labels) == sorted(labels), labels
        self.name = f"{name}_total" if kind == "counter" else name
        self.text = text
        self.labels = tuple(labels)
        self.kind = kind

    def head(self) -> str:
        """Return the two lines before the samples."""
        return f"# HELP {self.name} {self.text}\n# TYPE {self.name} {self.kind}\n"

    def form(self, suffix: str = "", *more: str) -> str:
        """Return a line with places for the values of all labels and for the number."""
        labels = ",".join(f'{label}="%s"' for label in sorted((*self.labels, *more)))
        return f"{self.name}{suffix}{{{labels}}} %s\n" if labels else f"{self.name}{suffix} %s\n"

    def chosen(self, labels: Iterable[Labels], wanted: Wanted | None) -> Iterator[bool]:
        """Yield for each combination of labels whether it is wanted."""
        if wanted is None:
            return (True for _ in labels)
        choose = wanted(self.labels)
        return (choose is not None and choose(one) for one in labels)


class Limit:
    """How many combinations of labels a family tells apart; beyond, some labels of a new one read `other`."""

    def __init__(self, about: About, most: int | None, folding: Sequence[str]) -> None:
        self.most = most
        self._folded = frozenset(about.labels.index(label) for label in folding)
        self.beyond = 0
        """How often something was counted under `other` for that."""

    def __call__(self, known: int, labels: Labels) -> Labels:
        """Return what to count a combination under that is none of those known."""
        if self.most is None or known < self.most:
            return labels
        self.beyond += 1
        return tuple(OTHER if at in self._folded else label for at, label in enumerate(labels))


class Counter:
    """A number that only grows, for each combination of labels."""

    def __init__(
        self, name: str, text: str, labels: Sequence[str], *, most: int | None = None, folding: Sequence[str] = ()
    ) -> None:
        self.about = About(name, text, labels, "counter")
        self.limit = Limit(self.about, most, folding)
        self._form = self.about.form()
        self._values: dict[Labels, int] = {}

    def add(self, labels: Labels, count: int = 1) -> None:
        """Count so many more."""
        try:
            self._values[labels] += count
        except KeyError:
            labels = self.limit(len(self._values), labels)
            self._values[labels] = self._values.get(labels, 0) + count

    def keep(self, known: Callable[[Labels], bool]) -> None:
        """Forget every combination of labels that is not known any more."""
        self._values = {labels: value for labels, value in self._values.items() if known(labels)}

    def lines(self, wanted: Wanted | None = None) -> Iterator[str]:
        """Yield one line for each combination of labels."""
        rows = list(self._values.items())
        for (labels, value), chosen in zip(rows, self.about.chosen((one for one, _ in rows), wanted), strict=True):
            yield self._form % (*map(_escaped, labels), _number(value)) if chosen else ""


class Histogram:
    """How often a value was at most so much, for each bound and each combination of labels."""

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        bounds: Sequence[float],
        *,
        most: int | None = None,
        folding: Sequence[str] = (),
    ) -> None:
        self.about = About(name, text, labels, "histogram")
        self.limit = Limit(self.about, most, folding)
        self._bounds = tuple(bounds)
        self._names = [*(_number(bound) for bound in self._bounds), "+Inf"]
        self._at = bisect_left(self.about.labels, "le")
        self._bucket, self._count, self._sum = (
            self.about.form("_bucket", "le"), self.about.form("_count"), self.about.form("_sum"),
        )  # fmt: skip
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def observe(self, labels: Labels, value: float) -> None:
        """Count a value."""
        try:
            self._counts[labels][bisect_left(self._bounds, value)] += 1
        except KeyError:
            labels = self.limit(len(self._counts), labels)
            counts = self._counts.setdefault(labels, [0] * len(self._names))
            counts[bisect_left(self._bounds, value)] += 1
            self._sums.setdefault(labels, 0.0)
        self._sums[labels] += value

    def keep(self, known: Callable[[Labels], bool]) -> None:
        """Forget every combination of labels that is not known any more."""
        self._counts = {labels: counts for labels, counts in self._counts.items() if known(labels)}
        self._sums = {labels: self._sums[labels] for labels in self._counts}

    def lines(self, wanted: Wanted | None = None) -> Iterator[str]:
        """Yield for each combination of labels its buckets, its count and its sum, as one text."""
        rows = [(labels, tuple(counts), self._sums[labels]) for labels, counts in self._counts.items()]
        for (labels, counts, total), chosen in zip(
            rows, self.about.chosen((one for one, _, _ in rows), wanted), strict=True
        ):
            yield self._text(tuple(map(_escaped, labels)), counts, total) if chosen else ""

    def _text(self, labels: Labels, counts: Sequence[int], total: float) -> str:
        before, behind = labels[: self._at], labels[self._at :]
        sums = list(map(_number, accumulate(counts)))
        buckets = (
            self._bucket % (*before, name, *behind, count) for name, count in zip(self._names, sums, strict=True)
        )
        return "".join((*buckets, self._count % (*labels, sums[-1]), self._sum % (*labels, _number(total))))


class Reading:
    """Numbers that are kept elsewhere, and looked up when somebody asks: a gauge, or a counter."""

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        read: Callable[[], Iterable[tuple[Labels, float]]],
        kind: str = "gauge",
    ) -> None:
        self.about = About(name, text, labels, kind)
        self._form = self.about.form()
        self._read = read

    def lines(self, wanted: Wanted | None = None) -> Iterator[str]:
        """Yield one line for each combination of labels."""
        rows = list(self._read())
        for (labels, value), chosen in zip(rows, self.about.chosen((one for one, _ in rows), wanted), strict=True):
            yield self._form % (*map(_escaped, labels), _number(value)) if chosen else ""


def _escaped(value: str) -> str:
    return value.translate(_ESCAPES) if '"' in value or "\\" in value or "\n" in value else value
