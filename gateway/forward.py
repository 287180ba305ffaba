"""A call that was admitted, on its way to its server and back: in one round, or in several where input is wanted."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.conversation import Conversation
from gateway.errors import HeadersDisagree, UpstreamFailed
from gateway.ids import Kind
from gateway.mcp.eras import Era
from gateway.mcp.named import reference
from gateway.mcp.params import disagreement
from gateway.rounds import MAX_ROUNDS, METHODS, States, as_input, binding, inputs, state_of, wants_input
from gateway.tickets import NOWHERE, Ticket, Tickets
from gateway.upstream.call import Call

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Mapping

    from gateway.ids import Ref
    from gateway.mcp.agent import Agent
    from gateway.mcp.answers import Answer
    from gateway.mcp.named import Asked
    from gateway.model import Principal
    from gateway.outlet import Outlet
    from gateway.questions import Questions
    from gateway.seals import Seals
    from gateway.upstream.pool import Upstreams

CANNOT_ASK = "asks for input that cannot be asked for through this gateway"


# Structs like `Call`, because each call has one of both.
class Admitted(msgspec.Struct, frozen=True):
    """What policy has said yes to: `ref` is the thing that was asked for, `config` what it was decided by."""

    principal: Principal
    agent: Agent
    asked: Asked
    ref: Ref
    config: str


class Forward:
    """Sends admitted calls on; `notes` gets what the audit trail says of one."""

    def __init__(self, upstreams: Upstreams, questions: Questions, seals: Seals) -> None:
        self._upstreams = upstreams
        self.questions = questions
        self._states = States(seals)
        self.tickets = Tickets(seals)
        # Of all progress tokens that servers are given, so that no two calls ever have the same.
        self._tokens = count(1)

    def knows(self, config: str) -> bool:
        """Say whether the servers of this configuration are here."""
        return self._upstreams.knows(config)

    def require_headers(self, call: Admitted) -> None:
        """Require of a modern call that its headers repeat what its tool wants repeated; raises HeadersDisagree."""
        asked = call.asked
        if asked.lines is None or asked.method != "tools/call":
            return
        if wanted := self._upstreams.param_headers(call.ref, call.config):
            fault = disagreement(wanted, asked.arguments or {}, asked.lines)
            if fault is not None:
                raise HeadersDisagree(fault)

    async def call(
        self, admitted: Admitted, outlet: Outlet, again: Callable[[], Awaitable[str]], notes: dict[str, Any]
    ) -> Answer:
        """Return the server's answer; `again` is asked before every further round that the gateway itself begins,
        and says where that one goes: by which configuration it was decided.

        Raises StateRefused, Parted, UpstreamFailed, and what `again` raises.
        """
        members = self._members(admitted)
        agent, token = admitted.agent, admitted.asked.token
        if not outlet.open or (token is None and agent.threshold is None):
            return await self._round(admitted, members)
        conversation = self._conversation(admitted, outlet, token)
        try:
            async with conversation:
                return await self._rounds(admitted, members, conversation, again)
        finally:
            note(conversation, notes)

    async def resume(
        self, caller: Principal, agent: Agent, ticket: Ticket, outlet: Outlet, notes: dict[str, Any], config: str
    ) -> Answer:
        """Return the answer to a caller's call whose stream is taken up again; raises Parted, UpstreamFailed."""
        token = None if ticket.token is None else (ticket.token, ticket.ours)
        conversation = Conversation(agent, outlet, self.questions, token, self.tickets, ticket)
        try:
            async with conversation:
                return await self._upstreams.resume(caller, ticket.place, conversation.hear, config)
        finally:
            note(conversation, notes)

    async def _rounds(
        self, admitted: Admitted, members: Mapping[str, Any], conversation: Conversation,
        again: Callable[[], Awaitable[str]],
    ) -> Answer:  # fmt: skip
        """Ask the agent for what the server wants, where that is how its era has it, and go on."""
        server, wanted = admitted.ref.server, members
        for _ in range(MAX_ROUNDS):
            answer = await self._round(admitted, wanted, conversation)
            if admitted.agent.era is Era.MODERN or not wants_input(answer):
                return answer
            state = state_of(server, answer)
            responses = await self._responses(server, answer, admitted.agent, conversation)
            admitted = msgspec.structs.replace(admitted, config=await again())
            wanted = {**members, "inputResponses": responses} | ({} if state is None else {"requestState": state})
        raise UpstreamFailed(server, "asks for input again and again")

    async def _round(
        self, admitted: Admitted, members: Mapping[str, Any], conversation: Conversation | None = None
    ) -> Answer:
        asked, agent, ref = admitted.asked, admitted.agent, admitted.ref
        hears = conversation is not None
        call = Call(
            method=asked.method,
            # A resource may be read through a template, which is then what was admitted.
            name=asked.name if ref.kind is Kind.RESOURCE else ref.name,
            members=members,
            meta=asked.meta,
            caller=admitted.principal,
            whose=whose(admitted.principal, agent),
            agent=agent,
            token=conversation.token if conversation else None,
            hear=conversation.hear if conversation else None,
        )
        answer = await self._upstreams.call(ref, call, admitted.config)
        if agent.era is Era.MODERN:
            answer = as_input(answer, agent)
        if not wants_input(answer):
            return answer
        if asked.method not in METHODS or not (agent.era is Era.MODERN or (hears and agent.is_asked_midway)):
            raise UpstreamFailed(ref.server, CANNOT_ASK)
        inputs(ref.server, answer, agent)
        if agent.era is Era.LEGACY:
            return answer
        return self._states.sealed(ref.server, answer, binding(admitted.principal, ref, asked))

    async def _responses(
        self, server: str, answer: Answer, agent: Agent, conversation: Conversation
    ) -> Mapping[str, Any]:
        wanted = inputs(server, answer, agent)
        answers = await asyncio.gather(*(conversation.ask(one.method, one.params) for one in wanted.values()))
        if any("result" not in one for one in answers):
            raise UpstreamFailed(server, "asked for input that the agent did not give")
        return {key: one["result"] for key, one in zip(wanted, answers, strict=True)}

    def _members(self, admitted: Admitted) -> dict[str, Any]:
        asked, ref = admitted.asked, admitted.ref
        if asked.completion is not None:
            return {"ref": reference(ref.kind, ref.name), **asked.completion}
        members: dict[str, Any] = {} if asked.arguments is None else {"arguments": asked.arguments}
        if asked.responses is not None:
            members["inputResponses"] = asked.responses
        if asked.state is not None:
            bound_to = binding(admitted.principal, ref, asked)
            members["requestState"] = self._states.opened(asked.state, bound_to)
        return members

    def _conversation(self, admitted: Admitted, outlet: Outlet, token: str | int | None) -> Conversation:
        asked, agent, ours = admitted.asked, admitted.agent, next(self._tokens)
        # Its place is filled in event by event.
        ticket = Ticket(NOWHERE, asked.method, asked.name, str(admitted.ref), asked.id, token, ours)
        tokens = None if token is None else (token, ours)
        return Conversation(agent, outlet, self.questions, tokens, self.tickets, ticket)


def whose(principal: Principal, agent: Agent) -> Hashable:
    """Return whose a session at a server is: never two principals', nor two sessions' of one agent."""
    return (principal.identity, agent.session)


def note(conversation: Conversation, notes: dict[str, Any]) -> None:
    """Note what was said on the way, where something was."""
    if conversation.told or conversation.asked:
        notes["streamed"] = True
    counts = {"notifications": conversation.told, "questions": conversation.asked}
    notes.update({name: number for name, number in counts.items() if number})
    if conversation.waited:
        notes["waited_seconds"] = conversation.waited
