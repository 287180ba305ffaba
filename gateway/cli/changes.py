"""What differs between two stages of policy about decisions that were recorded, for people and for programs."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.common import counted, print_table, warn
from gateway.recalled import recalled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.cli.rehearsal import Outcome, Stage
    from gateway.model import AuditEvent, Question
    from gateway.recalled import Recalled


@dataclass(frozen=True, slots=True)
class Change:
    """A decision that the draft would take otherwise; `whole` says whether all of the question was recorded."""

    event: AuditEvent
    question: Question
    whole: bool
    now: Outcome
    draft: Outcome

    @property
    def document(self) -> dict[str, Any]:
        """The same for programs."""
        event, question = self.event, self.question
        said = [reason.get("code") for reason in event.policy.get("reasons", ())]
        return {
            "event": event.id,
            "time": event.time,
            "tenant": event.tenant,
            "principal": question.principal.subject,
            "action": question.action,
            "server": question.server,
            "name": question.name,
            "arguments_recorded": self.whole,
            "recorded": {"allow": event.policy.get("allow"), "reasons": said},
            "now": asdict(self.now),
            "draft": asdict(self.draft),
        }


@dataclass(slots=True)
class Report:
    """What came of a replay: how many were asked, and of them how many in part, and how many were decided otherwise.

    `otherwise` counts those that what is in force now decides otherwise than it was recorded; `unasked` those of an
    action that this version cannot ask about.
    """

    asked: int = 0
    partial: int = 0
    otherwise: int = 0
    unasked: int = 0
    changes: list[Change] = field(default_factory=list)

    @property
    def document(self) -> dict[str, Any]:
        """The same for programs."""
        numbers = {name: getattr(self, name) for name in ("asked", "partial", "otherwise", "unasked")}
        return {**numbers, "changed": len(self.changes), "changes": [one.document for one in self.changes]}


async def compared(events: Sequence[AuditEvent], now: Stage, draft: Stage) -> Report:
    """Ask every decision of both, and return what differs for a caller."""
    report = Report()
    judges_arguments = now.play.denies or draft.play.denies
    for event, asked in _decisions(events):
        before, after = await now.ask(asked.question), await draft.ask(asked.question)
        if before is None or after is None:
            report.unasked += 1
            continue
        whole = asked.whole or not judges_arguments
        report.asked += 1
        report.partial += not whole
        report.otherwise += whole and event.policy.get("allow") != before.allow
        if before.answer(whole=whole) != after.answer(whole=whole):
            report.changes.append(Change(event, asked.question, whole, before, after))
    return report


def _decisions(events: Iterable[AuditEvent]) -> Iterator[tuple[AuditEvent, Recalled]]:
    for event in events:
        if asked := recalled(event):
            yield event, asked


def print_report(report: Report) -> None:
    """Print a row for each kind of change, and what a reader must know of how it was found."""
    rows = Counter(map(_row, report.changes))
    table = [(str(times), *row) for row, times in rows.most_common()]
    print_table(("times", "tenant", "principal", "asked", "now", "draft"), table, empty="nothing would change")
    click.echo(f"{counted(report.asked, 'decision')} asked again, {len(report.changes)} would change")
    if report.partial:
        what = f"{counted(report.partial, 'call')} recorded without arguments"
        warn(f"{what}: only whether the tool is shown was compared; audit.include_arguments keeps them")
    if report.otherwise:
        warn(f"{report.otherwise} decided otherwise when they were recorded: files or ledger have changed since")
    if report.unasked:
        warn(f"{report.unasked} of an action that this version cannot ask about")


def _row(one: Change) -> tuple[str, str, str, str, str]:
    question = one.question
    about = "/".join(part for part in (question.server, question.name) if part)
    asked = f"{question.action} {about}".rstrip()
    gone, come = set(one.now.ids) - set(one.draft.ids), set(one.draft.ids) - set(one.now.ids)
    difference = " ".join([*(f"-{id_}" for id_ in sorted(gone)), *(f"+{id_}" for id_ in sorted(come))])
    now, draft = _words(one.now, f"{len(one.now.ids)} listed"), _words(one.draft, difference)
    return one.event.tenant or "-", question.principal.subject, asked, now, draft


def _words(outcome: Outcome, listed: str) -> str:
    codes = ", ".join(outcome.reasons)
    if outcome.error:
        return f"error: {outcome.error}"
    if outcome.listing:
        return listed
    if not outcome.visible:
        return f"not shown: {codes}"
    return "admitted" if outcome.allow else f"refused: {codes}"
