"""The audit chain's rules: how a writer's events hang together, and what is wrong where they do not. Pure.

Each life of a process is a writer of its own, with a chain of its own:

    link(0) = 32 zero bytes                     link(n) = SHA-256(link(n-1) + name of writer n in UTF-8)
    hash(0) = the writer's link                 hash(k) = SHA-256(hash(k-1) + k as 8 bytes, high first + body in UTF-8)

`body` is the event as it was encoded when it was recorded, and the columns beside it must say what it says. Writers
are linked, so that one cannot be taken away with all its events; their rows say which event is their newest, so that
the end cannot be cut off, and which is the newest that was pruned, so that verification goes on from there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ORIGIN = bytes(32)
UNCHAINED = 0  # the writer of events from before there was a chain
TOLD = ("time", "type", "outcome", "tenant", "reason", "actor", "target")  # what of an event makes its columns


def link(before: bytes, name: str) -> bytes:
    """Return the link of the writer `name`, registered after the one that has the link `before`."""
    return sha256(before + name.encode()).digest()


def event_hash(prev: bytes, number: int, body: str) -> bytes:
    """Return the hash of a writer's event that follows the one that has the hash `prev`."""
    return sha256(b"%b%b%b" % (prev, number.to_bytes(8), body.encode())).digest()


class Columns(NamedTuple):
    """What of an event stands in columns of its own, to be looked for."""

    time: int
    type: str
    outcome: str
    tenant: str | None
    reason: str | None
    principal: str | None
    target: str | None


def columns(
    time: int,
    type_: str,
    outcome: str,
    tenant: str | None,
    reason: str | None,
    actor: Mapping[str, Any],
    target: Mapping[str, Any],
) -> Columns:
    """Return the columns of an event."""
    more = (actor.get("principal"), target.get("id") or target.get("name"))
    return Columns(time, *map(column, (type_, outcome, tenant, reason, *more)))


def column(text: Any) -> Any:
    """Return text that every database takes: no NUL, no halves of surrogate pairs. The body has it as it was."""
    if not isinstance(text, str):
        return None
    return (
        text.encode("utf-8", "replace").decode().replace("\0", "\ufffd") if "\0" in text or not text.isascii() else text
    )


class Writer(NamedTuple):
    """A writer as it is registered; `number` and `hash` are of its newest event, `pruned_…` of the newest deleted."""

    id: int
    name: str
    link: bytes
    number: int
    hash: bytes
    pruned_number: int
    pruned_hash: bytes


class Link(NamedTuple):
    """An event as it stands in the ledger."""

    seq: int
    writer: int
    number: int
    prev: bytes
    hash: bytes
    columns: Columns
    body: str


class Damage(StrEnum):
    """What was done to the trail."""

    EDITED = "edited"
    DROPPED = "dropped"
    REORDERED = "reordered"
    INSERTED = "inserted"


@dataclass(frozen=True, slots=True)
class Break:
    """The first place at which a writer's chain does not hold: `seq` is None where there is no row to point at."""

    damage: Damage
    writer: str
    number: int
    seq: int | None
    why: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What a look at the whole trail found. `unchained` are events from before the chain, which prove nothing."""

    events: int
    unchained: int
    breaks: tuple[Break, ...]
    writers: tuple[Writer, ...]


@dataclass(slots=True)
class _Course:
    """How far one writer's chain was followed, and where it broke."""

    writer: Writer
    number: int
    hash: bytes
    seq: int | None = None
    broken: Break | None = None
    missing: range = range(0)

    def follow(self, row: Link) -> None:
        if self.broken is not None:
            self._after_a_gap(row)
        elif why := _contradiction(row):
            self._break(Damage.EDITED, row.number, row.seq, why)
        elif row.number <= self.number:
            self._break(Damage.INSERTED, row.number, row.seq, f"it comes after number {self.number}")
        elif row.number > self.number + 1:
            self.missing = range(self.number + 1, row.number)
            self._dropped(row.number - 1, row.seq)
        elif row.prev != self.hash:
            self._rewritten(row)
        else:
            self.number, self.hash, self.seq = row.number, row.hash, row.seq

    def end(self) -> None:
        """Hold the last event that there is to the newest that the writer is known to have written."""
        if self.broken is not None:
            return
        if self.number < self.writer.number:
            self._dropped(self.writer.number, None)
        elif self.number > self.writer.number:
            why = f"the newest that its writer is known to have written is number {self.writer.number}"
            self._break(Damage.INSERTED, self.number, self.seq, why)
        elif self.hash != self.writer.hash:
            self._break(Damage.EDITED, self.number, self.seq, "it is not what its writer is known to have written last")

    def _after_a_gap(self, row: Link) -> None:
        if self.broken and self.broken.damage is Damage.DROPPED and row.number in self.missing:
            self._break(Damage.REORDERED, row.number, row.seq, f"it stands after number {self.missing.stop}")

    def _rewritten(self, row: Link) -> None:
        """A row's content fits its hash, but the next row was written after another one."""
        if self.seq is None:
            why = "it does not continue from where the chain begins"
            self._break(Damage.EDITED, row.number, row.seq, why)
        else:
            why = f"number {row.number} was written after something else: it was rewritten, or put in its place"
            self._break(Damage.EDITED, self.number, self.seq, why)

    def _dropped(self, last: int, before: int | None) -> None:
        first = self.number + 1
        which = f"number {first} is" if first == last else f"numbers {first} to {last} are"
        where = f"before row {before}" if before is not None else "at the end"
        self._break(Damage.DROPPED, first, None, f"{which} missing {where}")

    def _break(self, damage: Damage, number: int, seq: int | None, why: str) -> None:
        self.broken = Break(damage, self.writer.name, number, seq, why)


class Verifier:
    """Follows every writer's chain at once, over rows in the order of their sequence numbers; keeps no rows."""

    def __init__(self, writers: Sequence[Writer]) -> None:
        self._writers = tuple(sorted(writers))
        self._courses = {one.id: _Course(one, one.pruned_number, one.pruned_hash) for one in self._writers}
        self._strangers: dict[int, Break] = {}
        self._events = self._unchained = 0

    def take(self, row: Link) -> None:
        """Look at the next row."""
        self._events += 1
        course = self._courses.get(row.writer)
        if course is not None:
            course.follow(row)
        elif row.writer == UNCHAINED and self._events == self._unchained + 1:
            self._unchained += 1
        elif row.writer not in self._strangers:
            why = "it is of no registered writer"
            self._strangers[row.writer] = Break(Damage.INSERTED, f"writer {row.writer}", row.number, row.seq, why)

    def result(self) -> Verification:
        """Return what was found, once every row was taken."""
        for course in self._courses.values():
            course.end()
        broken = [course.broken for course in self._courses.values() if course.broken]
        breaks = (*_unlinked(self._writers), *broken, *self._strangers.values())
        return Verification(self._events, self._unchained, breaks, self._writers)


def _contradiction(row: Link) -> str | None:
    """Return what in a row speaks against the rest of it, None if nothing does."""
    if event_hash(row.prev, row.number, row.body) != row.hash:
        return "its content is not what its hash was made of"
    try:
        said = json.loads(row.body)
        told = columns(*(said[name] for name in TOLD))
    except (ValueError, KeyError, AttributeError, TypeError):
        return "its content is no event"
    wrong = [name for name, one, there in zip(Columns._fields, told, row.columns, strict=True) if one != there]
    return f"its {wrong[0]} is not what its content says" if wrong else None


def _unlinked(writers: Sequence[Writer]) -> Iterator[Break]:
    """Yield where the register of writers does not hang together."""
    if writers:
        first = writers[0]
        # Writers all of whose events were pruned leave the register, from the oldest on, up to the last of them, which
        # may be alive and write again.
        if first.id == 1 and first.link != link(ORIGIN, first.name):
            yield Break(Damage.EDITED, first.name, 0, None, "its entry in the register was changed")
        elif first.id != 1 and not first.pruned_number:
            yield Break(Damage.DROPPED, first.name, 0, None, "writers before it are missing from the register")
    for before, after in pairwise(writers):
        if after.id != before.id + 1:
            yield Break(Damage.DROPPED, after.name, 0, None, "writers before it are missing from the register")
        elif after.link != link(before.link, after.name):
            yield Break(Damage.EDITED, after.name, 0, None, "its entry in the register was changed")
