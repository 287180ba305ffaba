"""What the composition root puts together of several parts that nobody else needs one by one."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from gateway import background
from gateway.endpoints.agent_sessions import AgentSessions
from gateway.endpoints.calls import Calls
from gateway.endpoints.listening import Subscriptions
from gateway.endpoints.mcp import Mcp
from gateway.endpoints.outlet import PULSE_SECONDS, Lines
from gateway.errors import Unavailable
from gateway.forward import Forward
from gateway.inventory import Inventory
from gateway.pulse import Pulse
from gateway.questions import Questions
from gateway.rooms import server_keys, upstream_targets
from gateway.seals import Seals
from gateway.sessions import Sessions
from gateway.streams import Streams
from gateway.upstream.announced import Heard
from gateway.upstream.pool import Upstreams
from gateway.upstream.slots import Slots

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from gateway.config import Loaded
    from gateway.follow import Follower
    from gateway.ledger import Ledger
    from gateway.rooms import Rooms
    from gateway.sidecars import Sidecars
    from gateway.tracing import Tracing


def sealing(children: Sidecars, upstreams: Upstreams) -> tuple[Forward, Sessions]:
    """Return what seals values for agents, with the secret that all gateways of the installation share."""
    seals = Seals(children.control_token().encode())
    return Forward(upstreams, Questions(), seals), Sessions(seals)


def checked_streams(stack: AsyncExitStack, follower: Follower) -> Streams:
    """Return the register of open streams, which are checked until the stack unwinds."""
    streams = Streams()
    background.run(stack, streams.watch(lambda: follower.revision), "check the open streams")
    return streams


def servers(
    stack: AsyncExitStack, loaded: Loaded, ledger: Ledger, follower: Follower
) -> tuple[Streams, Upstreams, Inventory]:
    """Return the servers and what they offer, listed until the stack unwinds, and the streams that hear of changes."""
    streams = checked_streams(stack, follower)

    async def listed(server: str) -> None:
        await inventory.refresh(server)

    config = loaded.config
    slots = Slots(config.stdio.max_processes, config.stdio.max_processes_per_tenant)
    heard = Heard(streams.changed, listed, streams.updated)
    upstreams = Upstreams(upstream_targets(config), loaded.name, slots=slots, heard=heard)
    stack.push_async_callback(upstreams.close)
    background.run(stack, upstreams.run(), "let go of servers")
    inventory = Inventory(
        server_keys(config),
        config.tool_access.mode,
        list_=upstreams.offered,
        keep=ledger.put_inventory,
        changed=streams.changed,
    )
    stack.push_async_callback(inventory.close)
    background.run(stack, _listed(inventory, ledger), "list the servers")
    return streams, upstreams, inventory


async def _listed(inventory: Inventory, ledger: Ledger) -> None:
    with contextlib.suppress(Unavailable):
        inventory.recall(await ledger.inventory())
    await inventory.refresh_all()
    await inventory.run()


def mcp_endpoint(stack: AsyncExitStack, rooms: Rooms, tracing: Tracing | None) -> Mcp:
    """Return the endpoint of MCP; `tracing` makes the traces of its requests, where they are wanted."""
    pulse = Pulse(PULSE_SECONDS)
    stack.callback(pulse.close)
    lines = Lines(rooms.gate, pulse, rooms.streams)
    calls = Calls(lines)
    forward = rooms.forward
    sessions = AgentSessions(calls, rooms.sessions, forward.questions, rooms.upstreams, forward.tickets, rooms.trail)
    return Mcp(rooms.gate, calls, sessions, Subscriptions(lines, rooms.upstreams, rooms.trail), tracing)
