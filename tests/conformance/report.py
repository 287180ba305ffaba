"""The runs for people to read: one table, then what was lost and what else is wrong."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import RenderableType

    from tests.conformance.suite import Found
    from tests.conformance.verdict import Compared, Loss

LONGEST_MESSAGE = 160


def report(every: Sequence[Compared]) -> Iterator[RenderableType]:
    """Yield the table, what was lost, each loss once a revision, and what is therefore not true."""
    yield _table(every)
    told: set[tuple[str, Loss]] = set()
    for compared in every:
        fresh = [loss for loss in compared.lost if (compared.run.revision, loss) not in told]
        told |= {(compared.run.revision, loss) for loss in fresh}
        if fresh:
            yield f"\n{compared.run.name}, lost on the way:"
        for scenario, losses in groupby(fresh, key=lambda loss: loss.scenario):
            yield from _scenario(scenario, losses)
    faults = [fault for compared in every for fault in compared.faults()]
    yield "\n" + ("\n".join(faults) or f"Everything passes that must, in {len(every)} runs.")


def _table(every: Sequence[Compared]) -> Table:
    table = Table("run", title="checks passed / failed", title_justify="left")
    for name in ("required scenarios", "direct", "gateway", "lost on the way", "some names hidden", "lost to hiding"):
        table.add_column(name, justify="right")
    for one in every:
        required = f"{len(one.scored) - len(one.required_failing)} of {len(one.scored)}"
        lost = str(sum(loss.count for loss in one.lost))
        hiding = (one.through.passed - one.hidden.passed).total() if one.through and one.hidden else 0
        table.add_row(
            one.run.name,
            required if one.scored and one.through else "",
            _counts(one.direct),
            _counts(one.through),
            lost if one.through else "",
            _counts(one.hidden),
            str(hiding) if one.hidden else "",
        )
    return table


def _counts(found: Found | None) -> str:
    return "" if found is None else f"{found.passed.total()} / {found.failed.total()}"


def _scenario(name: str, losses: Iterable[Loss]) -> Iterator[str]:
    yield f"  {name}"
    for loss in losses:
        times = f" ({loss.count} times)" if loss.count > 1 else ""
        yield f"    {loss.check}{times}: {' '.join(loss.message.split())[:LONGEST_MESSAGE]}"
