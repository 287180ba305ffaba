"""Calls of servers without a corridor before them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.mcp.agent import Agent
from gateway.upstream.call import Call

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.ids import Ref
    from gateway.mcp.answers import Answer
    from gateway.model import Principal
    from gateway.upstream.call import Hear
    from gateway.upstream.pool import Upstreams


async def call_tool(
    upstreams: Upstreams,
    ref: Ref,
    arguments: Mapping[str, Any] | None,
    meta: Mapping[str, Any],
    principal: Principal,
    agent: Agent | None = None,
    hear: Hear | None = None,
    config: str | None = None,
) -> Answer:
    """Call a tool for a principal, by an agent that can nothing unless it is given."""
    members = {} if arguments is None else {"arguments": arguments}
    agent = agent or Agent()
    whose = (principal.identity, agent.session)
    call = Call("tools/call", ref.name, members, meta, principal, whose, agent, None, hear)
    return await upstreams.call(ref, call, config)
