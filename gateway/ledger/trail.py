"""Transactions on the audit trail: appending to this process's chain, pages of it, pruning, and verifying it all."""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.ledger import rows
from gateway.ledger.chain import ORIGIN, UNCHAINED, Verification, Verifier, column, columns, event_hash, link
from gateway.ledger.transaction import Again

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.ledger.transaction import Reader, Row, Transaction
    from gateway.ledger.values import AuditFilter
    from gateway.model import AuditEvent

LOG = logging.getLogger("portcullis.ledger")
NEWEST = "select coalesce(max(seq), 0) from audit"
PRUNE_BATCH = 2000
VERIFY_BATCH = 500
DAY_MS = 86_400_000
_EVENT = "seq, time, type, outcome, tenant, reason, body"
_COLUMNS = (
    *("writer", "number", "prev", "hash"),
    *("time", "type", "outcome", "tenant", "reason", "principal", "target", "body"),
)
_HEAD = "select id, number, hash from audit_writer where name = ?"
_WRITERS = "select id, name, link, number, hash, pruned_number, pruned_hash from audit_writer order by id"
_LINKS = f"select seq, {', '.join(_COLUMNS)} from audit where seq > ? order by seq limit ?"  # noqa: S608


@dataclass(frozen=True, slots=True)
class Head:
    """A writer, and the number and hash of its newest event."""

    id: int
    number: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Attempt:
    """A group of events of which is not known whether it was committed: the head that it would make, and the ids."""

    head: Head
    ids: frozenset[str]


def life_of(label: str) -> str:
    """Return a name for this life of a process: its label, when it began, and something that no other has."""
    return f"{label}.{time.time_ns() // 1_000_000:x}.{secrets.token_hex(4)}"


class Pen:
    """What this life of a process writes events with: its chain's name, and how far it knows to have written that."""

    def __init__(self, label: str) -> None:
        self._label = label
        self.name = life_of(label)
        self.number = 0
        self.attempt: Attempt | None = None

    def wrote(self, number: int) -> None:
        """Note that the event of this number is committed."""
        self.number = max(self.number, number)

    def begin_anew(self) -> None:
        """Begin another chain, so that no name and number ever means two events."""
        self.name, self.number = life_of(self._label), 0


async def append(tx: Transaction, pen: Pen, events: Sequence[AuditEvent]) -> Head:
    """Append events to this process's chain, in order; the last thing that a transaction does.

    The head is read in the transaction, so that neither a crash nor a lost connection leaves it wrong.
    """
    return await _extend(tx, await _head(tx, pen), events)


async def append_once(tx: Transaction, pen: Pen, events: Sequence[AuditEvent]) -> None:
    """Append events, without those of the last attempt if that was committed after all."""
    head = await _head(tx, pen)
    if pen.attempt is not None and await _committed(tx, pen.attempt.head):
        events = [one for one in events if one.id not in pen.attempt.ids]
    if events:
        made = await _extend(tx, head, events)
        pen.attempt = Attempt(made, frozenset(one.id for one in events))


async def _committed(tx: Transaction, head: Head) -> bool:
    sql = "select 1 from audit where writer = ? and number = ? and hash = ?"
    return bool(await tx.fetch(sql, head.id, head.number, head.hash))


async def _extend(tx: Transaction, head: Head, events: Sequence[AuditEvent]) -> Head:
    number, hash_, made = head.number, head.hash, []
    for event in events:
        body, prev = rows.body_of(event), hash_
        number, hash_ = number + 1, event_hash(prev, number + 1, body)
        told = (event.time, event.type, event.outcome, event.tenant, event.reason, event.actor, event.target)
        made.append((head.id, number, prev, hash_, *columns(*told), body))
    await tx.execute("update audit_writer set number = ?, hash = ? where id = ?", number, hash_, head.id)
    # From here on every other writer waits, so nothing but the rows themselves comes after it.
    await tx.order_audit()
    await tx.load("audit", _COLUMNS, made)
    tx.appended = number
    return Head(head.id, number, hash_)


async def _head(tx: Transaction, pen: Pen) -> Head:
    found = await tx.locked(_HEAD, pen.name)
    if pen.number and (not found or found[0][1] < pen.number):
        # Pruning forgets a writer whose events are all gone. Otherwise an older copy of the ledger was restored.
        LOG.warning("the ledger no longer has what %s wrote up to number %d: a new chain begins", pen.name, pen.number)
        pen.begin_anew()
        found = []
    return Head(*found[0]) if found else await _register(tx, pen)


async def _register(tx: Transaction, pen: Pen) -> Head:
    await tx.order_audit()
    if await tx.fetch(_HEAD, pen.name):
        raise Again(pen.name)
    last = await tx.fetch("select id, link from audit_writer order by id desc limit 1")
    id_, before = last[0] if last else (UNCHAINED, ORIGIN)
    mine = link(before, pen.name)
    await tx.execute(
        "insert into audit_writer (id, name, link, number, hash, pruned_number, pruned_hash)"
        " values (?, ?, ?, 0, ?, 0, ?)",
        *(id_ + 1, pen.name, mine, mine, mine),
    )
    return Head(id_ + 1, 0, mine)


def page_of(wanted: AuditFilter, after: int | None, limit: int, *, newest_first: bool) -> tuple[str, Row]:
    """Return the statement and values for a page of events that follow sequence number `after`."""
    beyond, order = ("seq < ?", "desc") if newest_first else ("seq > ?", "asc")
    conditions = (
        (beyond, after),
        ("tenant = ?", wanted.scope),
        ("tenant = ?", wanted.tenant),
        ("principal = ?", column(wanted.principal)),
        ("type = ?", wanted.type),
        ("outcome = ?", wanted.outcome),
        ("target = ?", column(wanted.target)),
        ("time >= ?", wanted.since),
        ("time < ?", wanted.until),
    )
    given = [(condition, value) for condition, value in conditions if value is not None]
    where = " and ".join(["seq > 0", *(condition for condition, _ in given)])
    sql = f"select {_EVENT} from audit where {where} order by seq {order} limit ?"  # noqa: S608
    return sql, (*(value for _, value in given), limit)


async def prune(tx: Transaction, before: int, now: int) -> tuple[int, bool]:
    """Delete one batch of the oldest events; return how many, and whether there may be more. Anchors are left.

    Only a beginning of the trail is deleted: up to the first event that is not older than `before`. One that
    claims to be of more than a day after `now` keeps nothing alive; its writer's clock was wrong.
    """
    oldest = await tx.fetch("select seq, time, writer, number, hash from audit order by seq limit ?", PRUNE_BATCH)
    kept = next((index for index, row in enumerate(oldest) if before <= row[1] <= now + DAY_MS), len(oldest))
    gone = oldest[:kept]
    deleted = 0
    if gone:
        anchors = {writer: (number, hash_) for _, _, writer, number, hash_ in gone}
        await tx.each(
            "update audit_writer set pruned_number = ?, pruned_hash = ? where id = ? and pruned_number < ?",
            [(number, hash_, writer, number) for writer, (number, hash_) in sorted(anchors.items())],
        )
        deleted = await tx.execute("delete from audit where seq <= ?", gone[-1][0])
    if kept < PRUNE_BATCH:
        await _forget_writers(tx)
    return deleted, kept == PRUNE_BATCH


async def _forget_writers(tx: Transaction) -> None:
    """Take writers without events out of the register, from the oldest on; the last of them is what others hang on."""
    await tx.execute(
        "delete from audit_writer where number = pruned_number and id <"
        " (select max(id) from audit_writer where number = pruned_number and id <"
        " coalesce((select min(id) from audit_writer where number > pruned_number), 9223372036854775807))"
    )


async def verify(tx: Reader, seen: Callable[[int], None]) -> Verification:
    """Look at every event there is, in a transaction that sees one moment; `seen` is told how many, again and again."""
    verifier = Verifier([rows.writer(row) for row in await tx.fetch(_WRITERS)])
    seq = -1
    while batch := await tx.fetch(_LINKS, seq, VERIFY_BATCH):
        for row in batch:
            verifier.take(rows.link(row))
        seq = batch[-1][0]
        seen(len(batch))
    return verifier.result()
