"""Calls under way: answered by JSON or by a stream, stopped as the agent's era has it, taken up again by a ticket.

An agent of the modern era stops a call by hanging up. Before, hanging up says nothing: the call goes on, and is stopped
by a notification of the same session.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gateway.endpoints.outlet import HttpOutlet
from gateway.endpoints.replies import CANCELLED, STREAM_ENDED, accepted, answer, failed, refused, rejected
from gateway.endpoints.traced import carried_out
from gateway.errors import GatewayError
from gateway.mcp import named, results
from gateway.mcp.eras import Era, status
from gateway.mcp.errors import Rejection
from gateway.upstream.call import Parted

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from aiohttp import web

    from gateway.endpoints.gate import Door
    from gateway.endpoints.outlet import Lines
    from gateway.endpoints.reply import Answer as HttpAnswer
    from gateway.endpoints.reply import Reply
    from gateway.mcp.agent import Agent
    from gateway.mcp.answers import Answer
    from gateway.mcp.envelope import Request
    from gateway.recording import Caller
    from gateway.tickets import Ticket

BY_THE_AGENT = "cancelled by the agent"


@dataclass(frozen=True, slots=True)
class Calls:
    """Every call under way on this replica; those of sessions by the ids that their agents gave them."""

    lines: Lines
    running: dict[tuple[str, str | int], HttpOutlet] = field(default_factory=dict)

    async def answer(
        self, request: web.Request, door: Door, caller: Caller, agent: Agent, message: Request
    ) -> HttpAnswer:
        """Answer a request that asks one named thing."""
        asked = named.asked(message, agent.era, request.headers)
        if isinstance(asked, Rejection):
            self.lines.gate.refusals.malformed(caller.request, asked.message, caller.principal)
            if caller.trace is not None:
                with caller.trace as trace:
                    trace.failed_with(asked.code)
            return rejected(replace(asked, status=status(agent.era, asked.code)))
        outlet = HttpOutlet(request, self.lines, caller)
        work = door.pep.call(caller, agent, asked, outlet)
        try:
            if agent.era is Era.MODERN:
                outlet.task = asyncio.current_task()
                reply = await replied(work, caller, agent, asked)
            else:
                reply = await self._detached(outlet, replied(work, caller, agent, asked), agent, asked)
            return outlet.finished(reply)
        except asyncio.CancelledError:
            return outlet.finished(stopped(outlet, asked.id))
        except GatewayError:
            if not outlet.started:
                raise
            return outlet.finished(failed(asked.id, 200, STREAM_ENDED, "The call was stopped"))
        finally:
            outlet.close()

    async def resume(
        self, request: web.Request, door: Door, caller: Caller, agent: Agent, ticket: Ticket
    ) -> HttpAnswer:
        """Answer with the rest of a stream that was closed; raises TooManyStreams."""
        outlet = HttpOutlet(request, self.lines, caller)
        outlet.task = asyncio.current_task()
        try:
            await outlet.begin()
            work = door.pep.resume(caller, agent, ticket, outlet)
            return outlet.finished(await replied(work, caller, agent, ticket))
        except asyncio.CancelledError:
            return outlet.finished(stopped(outlet, ticket.id))
        finally:
            outlet.close()

    def cancel(self, session: str, id_: Any) -> None:
        """Stop a call of this session, if it is under way here."""
        # True would be taken for 1.
        is_id = isinstance(id_, str | int) and not isinstance(id_, bool)
        outlet = self.running.get((session, id_)) if is_id else None
        if outlet is not None:
            outlet.end(BY_THE_AGENT)

    def end_session(self, session: str) -> None:
        """Stop every call of a session."""
        for of, id_ in list(self.running):
            if of == session:
                self.cancel(session, id_)

    async def _detached(
        self, outlet: HttpOutlet, work: Coroutine[Any, Any, Reply], agent: Agent, asked: named.Asked
    ) -> Reply:
        task = self.lines.gate.detach(work)
        outlet.task = task
        if agent.session is not None:
            key = (agent.session, asked.id)
            self.running[key] = outlet
            task.add_done_callback(lambda _: self._forget(key, outlet))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                outlet.leave()
                if outlet.held:
                    # What is answered from now on is answered to the request by which the agent comes back.
                    task.cancel("left, to come back for the rest")
            raise

    def _forget(self, key: tuple[str, str | int], outlet: HttpOutlet) -> None:
        if self.running.get(key) is outlet:
            del self.running[key]


async def replied(
    work: Coroutine[Any, Any, Answer], caller: Caller, agent: Agent, asked: named.Asked | Ticket
) -> Reply:
    """Await a call, all of it within its span, and return what its agent is told; raises errors that are HTTP's."""
    id_, method = asked.id, asked.method or ""
    try:
        found = await (work if caller.trace is None else carried_out(caller.trace, work))
    except Parted:
        return accepted()
    except GatewayError as error:
        return refused(error, id_, method, asked.name, agent.era)
    body, http_status = results.relayed(id_, agent, method, found)
    return answer(body, http_status=http_status)


def stopped(outlet: HttpOutlet, id_: str | int) -> Reply:
    """Return what ends a call that was stopped; raises CancelledError where it is the agent that has gone."""
    task = asyncio.current_task()
    if outlet.ended is None or task is None:
        raise asyncio.CancelledError
    if outlet.task is task:
        task.uncancel()
    if task.cancelling():
        raise asyncio.CancelledError
    code = CANCELLED if outlet.ended == BY_THE_AGENT else STREAM_ENDED
    return failed(id_, 200, code, f"The call was stopped: {outlet.ended}")
