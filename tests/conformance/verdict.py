"""What the runs say together: who lost what on the way through the gateway, and whether that is the whole truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.conformance import narrowed

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from tests.conformance.narrowed import Hidden
    from tests.conformance.suite import Found, Run


@dataclass(frozen=True, slots=True)
class Loss:
    """A check that passed in one place and not in another, `count` times in one run; `message` says why."""

    scenario: str
    check: str
    count: int
    message: str


@dataclass(frozen=True)
class Compared:
    """One run in every place: `direct` on the fixture, `through` the gateway, `hidden` with three names hidden.

    What was not run is None. `scored` are the scenarios by which a revision's requirements are met, in the run of
    exactly those; elsewhere there are none.
    """

    run: Run
    scored: frozenset[str]
    direct: Found
    through: Found | None = None
    hidden: Found | None = None
    names: Sequence[Hidden] = ()

    @property
    def lost(self) -> list[Loss]:
        """What passes on the fixture and not through the gateway, warnings and skipped checks included."""
        return losses(self.direct, self.through) if self.through else []

    @property
    def required_failing(self) -> frozenset[str]:
        """The scenarios that the run's revision requires and that do not pass through the gateway."""
        if self.through is None:
            return frozenset()
        seen = frozenset(check.scenario for check in self.through.checks)
        return self.scored & frozenset(scenario for scenario, _ in self.through.failed) | (self.scored - seen)

    def faults(self) -> list[str]:
        """Return every sentence that is not true of this run and must be."""
        return [*self._fixture_faults(), *self._gateway_faults(), *self._hiding_faults()]

    def _fixture_faults(self) -> list[str]:
        passed, failed = self.direct.passed.total(), self.direct.failed.total()
        wanted = (self.run.passed, self.run.failed)
        if (passed, failed) == wanted:
            return []
        return [f"{self.run.name}: the fixture alone passes {passed} and fails {failed} checks, not {wanted}"]

    def _gateway_faults(self) -> list[str]:
        failing = sorted(self.required_failing)
        count = f"{len(failing)} of {len(self.scored)} required scenarios fail through the gateway"
        required = [f"{self.run.name}: {count}: {', '.join(failing)}"] if failing else []
        lost = sum(one.count for one in self.lost)
        return required + ([f"{self.run.name}: {lost} checks are lost on the way"] if lost else [])

    def _hiding_faults(self) -> list[str]:
        if self.through is None or self.hidden is None:
            return []
        lost = self.through.passed - self.hidden.passed
        wanted = narrowed.expected(self.through.passed, self.names)
        return [f"{self.run.name}: {key[0]} {key[1]} is lost to what is hidden" for key in lost - wanted] + [
            f"{self.run.name}: {key[0]} {key[1]} passes although it is hidden" for key in wanted - lost
        ]

    def as_json(self) -> dict[str, Any]:
        """Return the run as members of the JSON report."""
        found = {"direct": self.direct, "gateway": self.through, "narrowed": self.hidden}
        return {
            "run": self.run.name,
            **{place: counts(one) for place, one in found.items() if one},
            "lost": [
                {"scenario": one.scenario, "check": one.check, "count": one.count, "message": one.message}
                for one in self.lost
            ],
            "faults": self.faults(),
        }


def losses(before: Found, after: Found) -> list[Loss]:
    """Return the checks that pass before and not after, in the order in which they were looked at."""
    lost: Counter[tuple[str, str]] = before.passed - after.passed
    return [Loss(*key, count, after.message(key)) for key, count in lost.items()]


def counts(found: Found) -> dict[str, int]:
    """Return how many checks passed and failed."""
    return {"passed": found.passed.total(), "failed": found.failed.total()}
