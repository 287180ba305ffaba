"""The audit chain: what is done to the trail behind the ledger's back is found, and the first place of it is named."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ledger.chain import ORIGIN, Break, Damage, Link, Verifier, Writer, columns, event_hash, link
from gateway.ledger.connect import SQLITE, open_ledger
from gateway.ledger.rows import body_of
from gateway.model import AuditEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from gateway.ledger import Ledger

# --- on both backends -------------------------------------------------------------------------------------------------


def event(number: int) -> AuditEvent:
    target = {"id": f"payments/tool_{number}"}
    return AuditEvent(f"id {number}", number, "ToolCalled", "success", tenant="tenant:a", target=target)


class Trail(NamedTuple):
    """A trail of writers `a` (odd sequence numbers) and `b`, and between them the one event of `cli`: 1 to 11."""

    ledger: Ledger
    url: str

    def vandalise(self, *statements: str) -> None:
        """Do something to the tables that the ledger would not."""
        if self.url.startswith(SQLITE):
            with contextlib.closing(sqlite3.connect(self.url.removeprefix(SQLITE))) as db, db:
                for statement in statements:
                    db.execute(statement)
        else:
            with psycopg.connect(self.url) as connection:
                for statement in statements:
                    connection.execute(statement)

    async def found(self) -> list[tuple[Damage, str, int, int | None]]:
        """Return what is broken, by the labels of the writers."""
        breaks = (await self.ledger.audit_chain()).breaks
        return [(one.damage, one.writer.partition(".")[0], one.number, one.seq) for one in breaks]


@pytest.fixture
async def trail(ledger_url: str) -> AsyncIterator[Trail]:
    async with contextlib.AsyncExitStack() as stack:
        lives = {}
        for name in ("a", "b", "cli"):
            lives[name] = await open_ledger(ledger_url, name)
            stack.push_async_callback(lives[name].close)
        for number in range(1, 12):
            name = "cli" if number == 6 else "a" if number % 2 else "b"
            await lives[name].append_audit([event(number)])
        yield Trail(lives["a"], ledger_url)


async def test_a_trail_that_nobody_touched_holds(trail: Trail):
    found = await trail.ledger.audit_chain()
    assert (found.events, found.breaks) == (11, ())
    assert [(one.name.partition(".")[0], one.number) for one in found.writers] == [("a", 6), ("b", 4), ("cli", 1)]


SWAP = "update audit set seq = {} where seq = {}"
CASES = {
    "a body": (["update audit set body = replace(body, 'success', 'failure') where seq = 5"], ["edited a 3 5"]),
    "a column": (["update audit set outcome = 'failure' where seq = 4"], ["edited b 2 4"]),
    "a column of nothing": (["update audit set tenant = null where seq = 4"], ["edited b 2 4"]),
    "a hash": (["update audit set hash = prev where seq = 7"], ["edited a 4 7"]),
    "the first": (["delete from audit where seq = 1"], ["dropped a 1 None"]),
    "one in the middle": (["delete from audit where seq = 5"], ["dropped a 3 None"]),
    "several": (["delete from audit where seq in (3, 5, 8)"], ["dropped a 2 None", "dropped b 3 None"]),
    "the newest": (["delete from audit where seq = 11"], ["dropped a 6 None"]),
    "all of a writer": (["delete from audit where seq = 6"], ["dropped cli 1 None"]),
    "a writer with its entry": (
        ["delete from audit where seq in (2, 4, 8, 10)", "delete from audit_writer where id = 2"],
        ["dropped cli 0 None"],
    ),
    "the first writer with its entry": (
        ["delete from audit where seq % 2 = 1", "delete from audit_writer where id = 1"],
        ["dropped b 0 None"],
    ),
    "a writer's name": (["update audit_writer set name = 'z' where id = 2"], ["edited z 0 None"]),
    "an anchor": (["update audit_writer set pruned_number = 1 where id = 1"], ["inserted a 1 1"]),
    "two of a writer": (
        [SWAP.format(0, 3), SWAP.format(3, 5), SWAP.format(5, 0)],
        ["reordered a 2 5"],
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_what_was_done_to_the_trail_is_found(trail: Trail, name: str):
    statements, expected = CASES[name]
    if name == "two of a writer" and not trail.url.startswith(SQLITE):
        # A number that is always generated can be changed only by what is generated.
        trail.vandalise("alter table audit alter column seq drop identity")
    trail.vandalise(*statements)
    assert [" ".join(map(str, one)) for one in await trail.found()] == expected


async def test_an_event_put_in_is_found_whoever_it_is_said_to_be_of(trail: Trail):
    copied = "prev, hash, time, type, outcome, tenant, reason, principal, target, body"
    forged = f"insert into audit (writer, number, {copied}) select {{}}, {{}}, {copied} from audit where seq = 5"
    trail.vandalise(forged.format(9, 1), forged.format(1, 7))
    assert await trail.found() == [
        (Damage.EDITED, "a", 7, 13),
        (Damage.INSERTED, "writer 9", 1, 12),
    ]


async def test_an_event_rewritten_with_a_hash_of_its_own_is_found_by_the_next(trail: Trail):
    """Whoever knows the rules can make a row hold together; then the one after it does not."""
    ((prev,), body) = await _prev(trail, 5), body_of(event(77))
    forged = event_hash(prev, 3, body).hex()
    literal = f"x'{forged}'" if trail.url.startswith(SQLITE) else f"'\\x{forged}'"
    trail.vandalise(
        f"update audit set body = '{body}', time = 77, target = 'payments/tool_77', hash = {literal} where seq = 5"
    )
    assert await trail.found() == [(Damage.EDITED, "a", 3, 5)]


async def _prev(trail: Trail, seq: int) -> tuple[bytes]:
    statement = f"select prev from audit where seq = {seq}"
    if trail.url.startswith(SQLITE):
        with contextlib.closing(sqlite3.connect(trail.url.removeprefix(SQLITE))) as db:
            return db.execute(statement).fetchone()
    with psycopg.connect(trail.url) as connection:
        return connection.execute(statement).fetchone() or (b"",)


async def test_a_process_whose_newest_events_were_taken_away_does_not_heal_its_chain(trail: Trail):
    """As after a restored backup: its old chain ends where the ledger says, and it begins another one."""
    trail.vandalise(
        "update audit_writer set number = 5, hash = (select hash from audit where seq = 9) where id = 1",
        "delete from audit where seq = 11",
    )
    await trail.ledger.append_audit([event(20)])
    found = await trail.ledger.audit_chain()
    assert found.breaks == ()
    assert [(one.name.partition(".")[0], one.number) for one in found.writers] == [
        ("a", 5), ("b", 4), ("cli", 1), ("a", 1),
    ]  # fmt: skip


async def test_events_can_be_appended_and_pruned_while_the_whole_trail_is_looked_at(trail: Trail):
    """A look sees one moment."""

    async def busy() -> None:
        for number in range(100, 140):
            await trail.ledger.append_audit([event(number)])
            await trail.ledger.prune_audit(number - 20)

    _, *looks = await asyncio.gather(busy(), *(trail.ledger.audit_chain() for _ in range(5)))
    assert [look.breaks for look in looks] == [()] * 5


# --- the rules alone --------------------------------------------------------------------------------------------------


def test_the_chain_is_made_as_the_page_on_audit_says():
    first = link(ORIGIN, "gw-1.193a.00000000")
    assert first == sha256(bytes(32) + b"gw-1.193a.00000000").digest()
    body = '{"id":"ü"}'
    assert event_hash(first, 1, body) == sha256(first + b"\0\0\0\0\0\0\0\1" + body.encode()).digest()


def test_an_event_is_encoded_alike_whichever_way_it_has_to_go():
    plain = event(1)
    assert json.loads(body_of(plain)) == json.loads(body_of(event(1)))
    assert list(json.loads(body_of(plain))) == [
        "id", "time", "type", "outcome", "reason", "tenant", "actor", "source", "target", "policy", "latency_ms",
        "count",
    ]  # fmt: skip


unhurried = settings(deadline=None)
LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=4)


def trail_of(lengths: Sequence[int]) -> tuple[list[Writer], list[Link]]:
    """Return writers with so many events each, and their events in turn."""
    writers, chains, before = [], [], ORIGIN
    for id_, length in enumerate(lengths, start=1):
        before = mine = link(before, f"w{id_}")
        chain = []
        for number in range(1, length + 1):
            one = event(100 * id_ + number)
            prev, body = (chain[-1].hash if chain else mine), body_of(one)
            told = columns(one.time, one.type, one.outcome, one.tenant, one.reason, one.actor, one.target)
            chain.append(Link(0, id_, number, prev, event_hash(prev, number, body), told, body))
        chains.append(chain)
        writers.append(Writer(id_, f"w{id_}", mine, length, chain[-1].hash, 0, mine))
    return writers, _numbered(in_turn(chains))


def in_turn(chains: Sequence[Sequence[Link]]) -> Iterator[Link]:
    for at in range(max(map(len, chains))):
        yield from (chain[at] for chain in chains if at < len(chain))


def _numbered(rows: Any) -> list[Link]:
    return [row._replace(seq=seq) for seq, row in enumerate(rows, start=1)]


def verified(writers: Sequence[Writer], rows: Sequence[Link]) -> tuple[Break, ...]:
    verifier = Verifier(writers)
    for row in rows:
        verifier.take(row)
    return verifier.result().breaks


@unhurried
@given(LENGTHS)
def test_any_trail_that_is_whole_holds(lengths: list[int]):
    assert verified(*trail_of(lengths)) == ()


@unhurried
@given(LENGTHS, st.data())
def test_any_event_that_is_dropped_is_missed(lengths: list[int], data: st.DataObject):
    writers, rows = trail_of(lengths)
    gone = rows.pop(data.draw(st.integers(0, len(rows) - 1)))
    assert [(one.damage, one.writer, one.number) for one in verified(writers, rows)] == [
        (Damage.DROPPED, f"w{gone.writer}", gone.number)
    ]


@unhurried
@given(LENGTHS, st.data())
def test_any_event_of_which_anything_is_changed_is_named(lengths: list[int], data: st.DataObject):
    writers, rows = trail_of(lengths)
    at = data.draw(st.integers(0, len(rows) - 1))
    changed = data.draw(
        st.sampled_from(
            [
                {"prev": bytes(32)},
                {"hash": bytes(32)},
                {"body": "{}"},
                {"number": 99},
                {"columns": rows[at].columns._replace(time=0)},
            ]
        )
    )
    rows[at] = rows[at]._replace(**changed)
    (found,) = verified(writers, rows)
    assert (found.damage, found.writer, found.seq) == (Damage.EDITED, f"w{rows[at].writer}", rows[at].seq)


@unhurried
@given(LENGTHS.filter(lambda lengths: max(lengths) > 1), st.data())
def test_any_two_events_of_a_writer_that_changed_places_are_noticed(lengths: list[int], data: st.DataObject):
    writers, rows = trail_of(lengths)
    whose = data.draw(st.sampled_from([one.id for one in writers if one.number > 1]))
    mine = [at for at, row in enumerate(rows) if row.writer == whose]
    first, second = sorted(data.draw(st.sets(st.sampled_from(mine), min_size=2, max_size=2)))
    rows[first], rows[second] = rows[second], rows[first]
    (found,) = verified(writers, _numbered(rows))
    assert (found.damage, found.writer) == (Damage.REORDERED, f"w{whose}")


@unhurried
@given(LENGTHS, st.data())
def test_any_event_that_was_put_in_is_noticed(lengths: list[int], data: st.DataObject):
    writers, rows = trail_of(lengths)
    at = data.draw(st.integers(0, len(rows) - 1))
    rows.insert(data.draw(st.integers(at + 1, len(rows))), rows[at])
    (found,) = verified(writers, _numbered(rows))
    assert (found.damage, found.number) == (Damage.INSERTED, rows[at].number)


def test_events_from_before_the_chain_may_only_stand_before_it():
    writers, rows = trail_of([2])
    old = rows[0]._replace(writer=0, number=0)
    verifier = Verifier(writers)
    for row in (old, old, *rows):
        verifier.take(row)
    found = verifier.result()
    assert (found.events, found.unchained, found.breaks) == (4, 2, ())
    (late,) = verified(writers, [*rows, old])
    assert late.damage is Damage.INSERTED
