"""What a server and an agent say to each other before a call is answered; everything passes here, and little does.

A server hears no id or token of an agent, an agent none of a server's. Notifications are passed on that the agent has
asked for, requests that it has declared it can answer; all else is dropped, or refused.
"""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import msgspec

from gateway.errors import TooManyStreams, UpstreamFailed
from gateway.mcp import told
from gateway.mcp.answers import Unusable
from gateway.mcp.capabilities import can
from gateway.mcp.errors import INTERNAL_ERROR
from gateway.tickets import Errand

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from gateway.mcp.agent import Agent
    from gateway.mcp.answers import ServerRequest
    from gateway.outlet import Outlet
    from gateway.questions import Question, Questions
    from gateway.tickets import Ticket, Tickets
    from gateway.upstream.call import Link

# An agent may have to ask a person; and a server may not keep one busy for as long as it likes.
QUESTION_SECONDS = 300.0
CALL_QUESTIONS_SECONDS = 900.0
MAX_QUESTIONS = 64
# A server's ids go into the gateway's own.
MAX_ID_BYTES = 256
# What a server may say that nobody wants to hear, in one call.
MAX_UNHEARD_BYTES = 16 * 1024 * 1024
# Clients before this revision do not know events without data.
_KNOWS_BARE_EVENTS = "2025-11-25"

NO_AGENT: Mapping[str, Any] = {"error": {"code": INTERNAL_ERROR, "message": "The agent cannot be asked any more"}}
NO_ANSWER: Mapping[str, Any] = {"error": {"code": INTERNAL_ERROR, "message": "The agent gave no answer in time"}}


class Conversation:
    """One call's. `asked` counts the questions that the agent was asked, `told` what it was told besides.

    `waited` is how many seconds it was waited for.
    """

    def __init__(
        self,
        agent: Agent,
        outlet: Outlet,
        questions: Questions,
        token: tuple[str | int, int] | None = None,
        tickets: Tickets | None = None,
        ticket: Ticket | None = None,
        *,
        lasting: bool = False,
    ) -> None:
        """`token` is the agent's for progress, and the gateway's; `ticket` is what an agent comes back with.

        A `lasting` one belongs to no call, and what is bounded for a call is not for all of it together.
        """
        self._agent = agent
        self._outlet = outlet
        self._questions = questions
        self.token = token[1] if token else None
        """What the server reports progress under, None where nobody wants to hear of it."""
        self._filter = told.Filter(agent, token)
        self._tickets = tickets
        self._ticket = ticket
        self._links: list[Link] = []
        self._open: dict[bytes, tuple[asyncio.Task[None], Question]] = {}
        self._waiting: set[asyncio.Future[Mapping[str, Any]]] = set()
        self._until = math.inf if lasting else None
        self._room = math.inf if lasting else MAX_UNHEARD_BYTES
        self.asked = self.told = 0
        self.waited = 0.0
        outlet.on_gone(self._left)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        still = list(self._open.values())
        for task, _ in still:
            task.cancel()
        await asyncio.gather(*(task for task, _ in still), return_exceptions=True)
        if self._links:
            # The stream goes on, and with it what was asked on it.
            for _, question in still:
                self._questions.leave_open(question.id)

    async def hear(self, message: ServerRequest, link: Link) -> None:
        """Pass on what a server says, if it is for this agent; raises Unusable where too much is not."""
        if message.id is not None:
            await self._begin(message.id, message, link)
            return
        if message.method == "notifications/cancelled":
            await self._take_back(message)
            return
        body = self._filter.passed(message)
        if body is None and (message.method or not self._knows_bare_events):
            link.refuse(message)
            self._require_room(len(message.body))
        elif await self._tell(body or b"", message, link):
            self.told += body is not None

    def follow(self, agent: Agent) -> None:
        """Pass on what the agent wants to hear from now on."""
        self._filter = told.Filter(agent, None)

    async def ask(self, method: str, params: bytes | None) -> Mapping[str, Any]:
        """Ask the agent and return its answer, which has either `result` or `error`; an error where it has gone."""
        try:
            question = self._questions.open(self._agent.session or "")
        except TooManyStreams:
            return NO_AGENT
        if not await self._outlet.tell(told.request(question.id, method, params)):
            self._questions.close(question)
            return NO_AGENT
        return await self._answer(question)

    async def _answer(self, question: Question) -> Mapping[str, Any]:
        """Return the answer to a question that the agent has been asked."""
        self.asked += 1
        started = time.monotonic()
        self._until = self._until or started + CALL_QUESTIONS_SECONDS
        self._waiting.add(question.answer)
        try:
            async with asyncio.timeout(min(QUESTION_SECONDS, self._until - started)):
                return await question.answer
        except TimeoutError:
            await self._outlet.tell(told.cancelled(question.id))
            return NO_ANSWER
        finally:
            self._waiting.discard(question.answer)
            self._questions.close(question)
            self.waited += time.monotonic() - started

    async def _begin(self, id_: bytes, message: ServerRequest, link: Link) -> None:
        """Pass a server's question on, and its answer beside everything else; or refuse it at once."""
        params = told.params_of(message)
        mode = {"mode": told.text_of(params.get("mode"))} if "mode" in params else {}
        full = len(self._open) >= MAX_QUESTIONS or len(id_) > MAX_ID_BYTES or id_ in self._open
        question = None
        if can(self._agent.capabilities, message.method, mode) and not full and self._outlet.open:
            question = self._opened(id_, link)
        if question is None:
            link.refuse(message)
            return
        text = msgspec.json.encode(params) if params else None
        if not await self._tell(told.request(question.id, message.method, text), message, link):
            self._questions.close(question)
            link.refuse(message)
            return
        task = asyncio.create_task(self._pass_on(id_, link, question))
        self._open[id_] = task, question
        task.add_done_callback(lambda _: self._open.pop(id_, None))

    async def _pass_on(self, id_: bytes, link: Link, question: Question) -> None:
        with link.waiting():
            answer = await self._answer(question)
        with suppress(UpstreamFailed):  # The server has gone then, and its call fails for that.
            await link.answer(told.answer(id_, answer))

    def _opened(self, id_: bytes, link: Link) -> Question | None:
        session = self._agent.session
        if session is None:
            return None
        sealed = None
        if self._tickets is not None and link.place is not None:
            # An id that says whom the answer is for, to whichever gateway the agent posts it.
            sealed = self._tickets.seal_question(session, Errand(link.place, id_.decode()))
        try:
            return self._questions.open(session, sealed)
        except TooManyStreams:
            return None

    async def _take_back(self, message: ServerRequest) -> None:
        """Stop waiting for what the server does not want to know any more."""
        asked = told.params_of(message).get("requestId")
        found = self._open.get(bytes(asked)) if asked is not None else None
        if found is not None:
            task, question = found
            task.cancel()
            await self._outlet.tell(told.cancelled(question.id))

    async def _tell(self, body: bytes, message: ServerRequest, link: Link) -> bool:
        """Tell the agent something, with what it can come back with after it where the server offers that."""
        mark = self._marked(message, link) if message.event_id is not None else None
        if not body and mark is None:
            return False
        heard = await self._outlet.tell(body, mark, message.retry)
        if heard and mark is not None and not link.held:
            link.held = True
            self._links.append(link)
        return heard

    @property
    def _knows_bare_events(self) -> bool:
        return self._agent.session is not None and self._agent.version >= _KNOWS_BARE_EVENTS

    def _require_room(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            raise Unusable("says too much that nobody asked for")

    def _marked(self, message: ServerRequest, link: Link) -> str | None:
        session, place = self._agent.session, link.position(message.event_id or b"")
        if place is None or session is None or self._tickets is None or self._ticket is None:
            return None
        return self._tickets.seal(session, self._ticket.at(place))

    def _left(self) -> None:
        """Leave the server with answers, where its agent has gone; or without, where it will come back."""
        for link in self._links:
            link.parted = True
        for answer in self._waiting if not self._links else ():
            if not answer.done():
                answer.set_result(NO_AGENT)
