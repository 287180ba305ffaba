"""What an agent comes back with: read by every replica for the session that it was given to, and by nobody else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.seals import MAX_SECONDS, Seals
from gateway.tickets import NOWHERE, Errand, Ticket, Tickets
from gateway.upstream.call import Position
from tests.support.clock import Clock

text = st.text(st.characters(codec="utf-8"), max_size=50)
ids = text | st.integers(-(2**63), 2**63 - 1)
places = st.builds(
    Position, server=text, session=text | st.none(), version=text, request=st.none() | st.integers(0, 2**53), event=text
)
tickets = st.builds(
    Ticket,
    place=places,
    method=text | st.none(),
    name=text,
    ref=text,
    id=ids,
    token=ids | st.none(),
    ours=st.integers(0, 2**53),
)


def replica(secret: bytes = b"secret", clock: Clock | None = None) -> Tickets:
    clock = clock or Clock(1000.0)
    return Tickets(Seals(secret, clock=clock), clock=clock)


@given(tickets, text)
def test_every_replica_reads_the_ticket_that_another_has_sealed(ticket: Ticket, session: str):
    sealed = replica().seal(session, ticket)
    read = replica().read(session, sealed)
    assert read == ticket
    assert type(read.id) is type(ticket.id)
    # It goes out as the id of an event, which is one line.
    assert sealed.isascii()
    assert sealed.isprintable()


@given(tickets, text, text)
def test_a_ticket_of_another_session_or_installation_is_none(ticket: Ticket, session: str, other: str):
    sealed = replica().seal(session, ticket)
    assert (replica().read(other, sealed) is None) == (other != session)
    assert replica(b"another").read(session, sealed) is None


@given(places, text, text)
def test_a_question_is_answered_to_where_it_was_asked_and_is_no_ticket(place: Position, id_: str, session: str):
    sealed = replica().seal_question(session, Errand(place, id_))
    assert replica().read_question(session, sealed) == Errand(place, id_)
    assert replica().read(session, sealed) is None
    assert replica().read_question(session, replica().seal(session, Ticket(place))) is None


@given(text)
def test_any_other_text_is_neither(other: str):
    assert replica().read("session", other) is None
    assert replica().read_question("session", other) is None


@pytest.mark.parametrize(("later", "holds"), [(0, True), (MAX_SECONDS - 2, True), (MAX_SECONDS, False)])
def test_a_ticket_lasts_no_longer_than_a_session_may(later: int, holds: bool):
    clock = Clock(1000.0)
    sealed = replica(clock=clock).seal("session", Ticket(NOWHERE))
    clock.advance(later)
    assert (replica(clock=clock).read("session", sealed) is not None) is holds


def test_a_ticket_at_another_place_is_for_the_same_request():
    ticket = Ticket(NOWHERE, "tools/call", "charge", "payments/charge", "7", 5, 12)
    place = Position("payments", "s1", "2025-11-25", 3, "e9")
    moved = ticket.at(place)
    assert moved.place == place
    assert moved.at(NOWHERE) == ticket
