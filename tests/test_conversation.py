"""What a server and an agent say to each other, without either: whose time it is, how many questions, how much."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager

import msgspec
import pytest

from gateway import conversation as rules
from gateway import questions
from gateway.conversation import Conversation
from gateway.errors import TooManyStreams
from gateway.mcp import json
from gateway.mcp.agent import Agent
from gateway.mcp.answers import ServerRequest, Unusable, parse
from gateway.mcp.eras import Era
from gateway.questions import Questions
from gateway.seals import Seals
from gateway.tickets import NOWHERE, Ticket, Tickets
from gateway.upstream.call import Patience, Position

IN_SESSION = Agent(Era.LEGACY, "2025-11-25", {"elicitation": {}, "sampling": {}}, "s1")


class Agents:
    """An outlet that keeps what is told."""

    def __init__(self, *, open_: bool = True) -> None:
        self.open = open_
        self.check = None
        self.told: list[tuple[dict, str | None]] = []
        self.left = []

    async def tell(self, message, event_id=None, retry=None):
        if self.open:
            self.told.append((json.decode(message) if message else {}, event_id))
        return self.open

    def on_gone(self, left):
        self.left.append(left)

    def go(self):
        self.open = False
        for left in self.left:
            left()


class Server:
    """A link that keeps what is answered."""

    def __init__(self) -> None:
        self.answers: list[dict] = []
        self.refused: list[ServerRequest] = []
        self.held = self.parted = False
        self.waits = 0
        self.place = Position("s", "x", "2025-11-25", 1, "")

    async def answer(self, body):
        self.answers.append(json.decode(body))

    def refuse(self, message):
        self.refused.append(message)

    @contextmanager
    def waiting(self):
        self.waits += 1
        yield
        self.waits -= 1

    def position(self, event_id):
        return Position("s", "x", "2025-11-25", 1, event_id.decode()) if event_id else None


def said(method: str, id_=None, **params) -> ServerRequest:
    message = {"jsonrpc": "2.0", "method": method, "params": params} | ({} if id_ is None else {"id": id_})
    found = parse(msgspec.json.encode(message), 7)
    assert isinstance(found, ServerRequest)
    return found


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_question_is_passed_on_under_another_id_and_its_answer_under_the_servers_own():
    agent, server, open_ = Agents(), Server(), Questions()
    async with Conversation(IN_SESSION, agent, open_) as talk:
        await talk.hear(said("elicitation/create", id_=2**70, message="who?"), server)
        await turns()
        ((question, _),) = agent.told
        assert server.waits == 1
        assert question["id"] != 2**70
        assert open_.answered("s1", question["id"], {"result": {"action": "accept"}})
        assert not open_.answered("s1", question["id"], {"result": {"action": "decline"}})
        await turns()
    assert server.answers == [{"jsonrpc": "2.0", "id": 2**70, "result": {"action": "accept"}}]
    assert (server.waits, len(open_), talk.asked) == (0, 0, 1)


@pytest.mark.parametrize("session", [None, "s2", ""])
async def test_an_answer_of_another_session_is_none(session):
    agent, open_ = Agents(), Questions()
    async with Conversation(IN_SESSION, agent, open_) as talk:
        await talk.hear(said("elicitation/create", id_=1), Server())
        await turns()
        for id_ in (agent.told[0][0]["id"], 1, "x"):
            assert not open_.answered(session, id_, {"result": {}})


async def test_no_server_keeps_an_agent_busy_with_more_than_so_many_questions():
    agent, server = Agents(), Server()
    async with Conversation(IN_SESSION, agent, Questions()) as talk:
        for number in range(rules.MAX_QUESTIONS + 5):
            await talk.hear(said("elicitation/create", id_=number), server)
        await talk.hear(said("elicitation/create", id_=0), server)
        await turns()
        assert (len(agent.told), len(server.refused)) == (rules.MAX_QUESTIONS, 6)


async def test_a_gateway_full_of_questions_asks_no_more():
    open_ = Questions()
    async with Conversation(IN_SESSION, Agents(), open_) as talk:
        open_._open.update(dict.fromkeys(map(str, range(questions.MAX_OPEN))))
        with pytest.raises(TooManyStreams):
            open_.open("s1")
        assert await talk.ask("elicitation/create", None) == rules.NO_AGENT
        open_._open.clear()


async def test_an_agent_that_goes_leaves_every_question_answered_and_is_asked_nothing_more():
    agent, server = Agents(), Server()
    async with Conversation(IN_SESSION, agent, Questions()) as talk:
        for id_ in (1, 2):
            await talk.hear(said("elicitation/create", id_=id_), server)
        await turns()
        agent.go()
        await turns()
        assert [one["error"]["code"] for one in server.answers] == [-32603, -32603]
        await talk.hear(said("elicitation/create", id_=3), server)
        assert len(server.refused) == 1


async def test_an_agent_that_will_come_back_leaves_its_questions_open_and_the_server_alone():
    agent, server = Agents(), Server()
    open_, tickets = Questions(), Tickets(Seals(b"x"))
    async with Conversation(IN_SESSION, agent, open_, None, tickets, Ticket(NOWHERE, "tools/call")) as talk:
        message = said("notifications/message", level="info", data=1)
        message.event_id = b"e1"
        await talk.hear(message, server)
        ticket = tickets.read("s1", agent.told[-1][1] or "")
        assert ticket is not None
        assert (ticket.place.event, ticket.method) == ("e1", "tools/call")
        await talk.hear(said("elicitation/create", id_=1), server)
        await turns()
        agent.go()
        await turns()
        assert (server.held, server.parted, server.answers) == (True, True, [])
    # Who answers now is answered by whoever reads the id.
    question = agent.told[-1][0]["id"]
    assert not open_.answered("s1", question, {"result": {}})
    assert not open_.was_open(question)
    errand = tickets.read_question("s1", question)
    assert errand is not None
    assert (errand.place.server, errand.id) == ("s", "1")
    assert tickets.read_question("s2", question) is None


async def test_chatter_that_nobody_wants_to_hear_has_an_end():
    loud = said("notifications/of/its/own", data="x" * 100_000)
    async with Conversation(IN_SESSION, Agents(), Questions()) as talk:
        for _ in range(rules.MAX_UNHEARD_BYTES // len(loud.body)):
            await talk.hear(loud, Server())
        with pytest.raises(Unusable, match="nobody asked for"):
            await talk.hear(loud, Server())
    lasting = Conversation(IN_SESSION, Agents(), Questions(), lasting=True)
    for _ in range(rules.MAX_UNHEARD_BYTES // 100_000 + 1):
        await lasting.hear(loud, Server())


async def test_the_time_of_a_server_stands_still_while_somebody_else_is_waited_for():
    async with asyncio.timeout(0.1) as timeout:
        patience = Patience(timeout)
        with patience.waiting():
            with patience.waiting():
                await asyncio.sleep(0.08)
            await asyncio.sleep(0.08)

    async def too_slow(seconds: float) -> None:
        async with asyncio.timeout(0.05) as timeout:
            with Patience(timeout).waiting():
                await asyncio.sleep(seconds)
            await asyncio.sleep(5)

    for seconds in (0.1, 0):
        with pytest.raises(TimeoutError):
            await too_slow(seconds)
    # Over is over.
    with patience.waiting():
        pass
