"""What an agent comes back with, to a stream that was closed or with an answer: sealed places at servers.

With them any gateway of the installation finds the server, its session and what it was about again, with no store of
its own.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

import msgspec

from gateway.seals import MAX_SECONDS, BrokenSeal
from gateway.upstream.call import Position

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.seals import Seals

T = TypeVar("T", bound=msgspec.Struct)
EVENT = "event"
QUESTION = "question"
NOWHERE = Position("", None, "", None, "")


class Ticket(msgspec.Struct, frozen=True):
    """Where a stream goes on, and for which request of the agent: `id` and `token` are its own, `ours` what the server
    knows the token as, `ref` what was admitted. Without a request it is the stream of a session.
    """

    place: Position
    method: str | None = None
    name: str = ""
    ref: str = ""
    id: str | int = 0
    token: str | int | None = None
    ours: int = 0

    def at(self, place: Position) -> Ticket:
        """Return the same at another place."""
        return msgspec.structs.replace(self, place=place)


class Errand(msgspec.Struct, frozen=True):
    """Who has asked what an agent is asked: where the server waits for the answer, and its own id as JSON text."""

    place: Position
    id: str


class Tickets:
    """Seals tickets for a session and reads them; `clock` is in seconds since the epoch."""

    def __init__(self, seals: Seals, *, clock: Callable[[], float] = time.time) -> None:
        self._seals = seals
        self._clock = clock

    def seal(self, session: str, ticket: Ticket) -> str:
        """Return a ticket as the id of an event."""
        return self._sealed(EVENT, session, ticket)

    def read(self, session: str, text: str) -> Ticket | None:
        """Return the ticket that an event's id is, None where it is none of this session's."""
        return self._read(EVENT, session, text, Ticket)

    def seal_question(self, session: str, errand: Errand) -> str:
        """Return the id under which an agent is asked, so that every gateway knows whom its answer is for."""
        return self._sealed(QUESTION, session, errand)

    def read_question(self, session: str, text: str) -> Errand | None:
        """Return whom the answer to a question is for, None where this session was never asked it."""
        return self._read(QUESTION, session, text, Errand)

    def _sealed(self, purpose: str, session: str, value: msgspec.Struct) -> str:
        # As long as the session may last at most, which is asked for on the way back.
        expires_at = self._clock() + MAX_SECONDS - 1
        return self._seals.seal(purpose, msgspec.json.encode(value), bound_to=session.encode(), expires_at=expires_at)

    def _read(self, purpose: str, session: str, text: str, type_: type[T]) -> T | None:
        try:
            return msgspec.json.decode(self._seals.unseal(purpose, text, bound_to=session.encode()), type=type_)
        except (BrokenSeal, msgspec.MsgspecError):
            return None
