"""`portcullis`, answering MCP requests after a step of the way, so that what remains costs nothing.

Run as `python -m bench.cut STEP up …`. It replaces methods of the product, which nothing but this measurement does.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from gateway.audit import AuditTrail
from gateway.cli import main
from gateway.endpoints.mcp import Mcp
from gateway.endpoints.replies import answer
from gateway.forward import Admitted
from gateway.mcp.answers import Answer
from gateway.mcp.definitions import Fragment
from gateway.pep import Pep
from gateway.questioning import question_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from gateway.endpoints.reply import Reply
    from gateway.mcp.agent import Agent
    from gateway.mcp.named import Asked
    from gateway.model import AuditEvent
    from gateway.outlet import Outlet
    from gateway.recording import Caller

NO_TOOLS = Fragment(b"", b"")


async def accept(_: Mcp, __: web.Request) -> Reply:
    """Read the head, route, and answer."""
    return answer(b"{}")


async def identify(mcp: Mcp, request: web.Request) -> Reply:
    """And check host, origin and size, authenticate, and take the body."""
    with mcp.gate.in_flight:
        door = mcp.gate.enter(request)
        await mcp.gate.identify(request, door)
        await mcp.gate.body(request, door)
    return answer(b"{}")


async def read(_: Mcp, *__: Any) -> Reply:
    """And parse the message, with its era and headers."""
    return answer(b"{}")


async def decide_list(pep: Pep, caller: Caller, _: str) -> Fragment:
    """And ask OPA."""
    await pep._pdp.list(question_of("tools/list", caller))
    return NO_TOOLS


async def decide_call(pep: Pep, caller: Caller, _: Agent, asked: Asked, __: Outlet) -> Answer:
    """And ask OPA."""
    await pep._pdp.call(question_of("tools/call", caller, name=asked.name, arguments=asked.arguments))
    return Answer()


async def carry_out_list(pep: Pep, caller: Caller, _: str) -> Fragment:
    """And put the list together."""
    decision = await pep._pdp.list(question_of("tools/list", caller))
    return await pep._inventory.listing(decision.ids, caller.view)


async def carry_out_call(pep: Pep, caller: Caller, agent: Agent, asked: Asked, outlet: Outlet) -> Answer:
    """And call the server."""
    decision = await pep._pdp.call(question_of("tools/call", caller, name=asked.name, arguments=asked.arguments))
    assert decision.ref is not None
    admitted = Admitted(caller.principal, agent, asked, decision.ref, decision.config)
    return await pep._forward.call(admitted, outlet, nothing, {})


async def nothing() -> str:
    """Decide nothing again: the measured calls have one round."""
    return ""


def record(trail: AuditTrail, one: AuditEvent) -> None:
    """And make the event and count it, without writing it anywhere."""
    trail._observe(one)


# What each step replaces; the last leaves nothing out.
CUTS: Mapping[str, tuple[tuple[type, str, Any], ...]] = {
    "accept": ((Mcp, "post", accept),),
    "identify": ((Mcp, "post", identify),),
    "read": ((Mcp, "_routed", read),),
    "decide": ((Pep, "listing", decide_list), (Pep, "call", decide_call)),
    "carry out": ((Pep, "listing", carry_out_list), (Pep, "call", carry_out_call)),
    "record": ((AuditTrail, "record", record),),
    "write": (),
}


def cut(step: str) -> None:
    """Leave out what comes after a step."""
    for owner, name, replacement in CUTS[step]:
        setattr(owner, name, replacement)


if __name__ == "__main__":
    cut(sys.argv.pop(1))
    main()
