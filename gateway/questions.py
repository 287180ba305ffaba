"""What servers have asked agents and wait to have answered: each question has an id that nobody can guess.

An agent answers by posting, on another connection than the one on which it was asked; so the two are brought together
here, and only where the session is the same. Which questions were open here is remembered for a while, so that what is
answered twice, or too late, is known from what another replica has asked.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.errors import TooManyStreams

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_OPEN = 10_000
MAX_REMEMBERED = 10_000
_ID_BYTES = 12


class Question(NamedTuple):
    """One question: `session` is whose agent was asked, `answer` has either `result` or `error`."""

    id: str
    session: str
    answer: asyncio.Future[Mapping[str, Any]]


class Questions:
    """Every question that is open on this replica."""

    def __init__(self) -> None:
        self._open: dict[str, Question] = {}
        self._over: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._open)

    def open(self, session: str, id_: str | None = None) -> Question:
        """Open a question until it is closed, under a new id if none is given; raises TooManyStreams."""
        if len(self._open) >= MAX_OPEN:
            raise TooManyStreams("too many questions wait for their agents")
        id_ = id_ or new_id()
        question = self._open[id_] = Question(id_, session, asyncio.get_running_loop().create_future())
        return question

    def close(self, question: Question) -> None:
        """Wait for its answer no more."""
        self._open.pop(question.id, None)
        self._over[question.id] = None
        if len(self._over) > MAX_REMEMBERED:
            del self._over[next(iter(self._over))]

    def was_open(self, id_: str) -> bool:
        """Whether a question of this id is, or was, open here; one that its agent may still answer is not."""
        return id_ in self._open or id_ in self._over

    def leave_open(self, id_: str) -> None:
        """Forget a question whose agent may still answer it, though nobody waits for that here any more."""
        self._over.pop(id_, None)

    def answered(self, session: str | None, id_: str | int, answer: Mapping[str, Any]) -> bool:
        """Hand an answer to whoever waits for it; False where this session was not asked that, or has answered it."""
        question = self._open.get(id_) if isinstance(id_, str) else None
        if question is None or question.session != session or question.answer.done():
            return False
        question.answer.set_result(answer)
        return True


def new_id() -> str:
    """Return an id that nobody can guess."""
    return secrets.token_urlsafe(_ID_BYTES)
