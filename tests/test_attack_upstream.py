"""What a hostile server can do to anybody but its own callers."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from gateway.errors import Unavailable, UpstreamFailed
from gateway.ids import Mode
from gateway.inventory import Inventory
from gateway.mcp.definitions import usable
from gateway.mcp.sections import TOOLS
from gateway.model import View
from gateway.upstream.pool import Upstreams
from gateway.upstream.target import Target
from tests.support.backend import FakeBackend, tool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.facts import ServerInventory
    from gateway.mcp.definitions import Offered
    from tests.conftest import World


@pytest.fixture
def answering(world: World) -> Iterator[FakeBackend]:
    """The world's server, which a test may have answer as it likes."""
    yield world.backend
    world.backend.answer = None


@pytest.mark.parametrize("page_size", [None, 400])
async def test_a_server_of_more_tools_than_policy_has_room_for_is_not_listed(page_size: int | None) -> None:
    definitions: list[Any] = [tool(f"t{number}") for number in range(TOOLS.most + 1)]
    hostile = FakeBackend(definitions=definitions, page_size=page_size)
    async with hostile.serve():
        upstreams = Upstreams({"hostile": Target("hostile", hostile.url)})
        try:
            with pytest.raises(UpstreamFailed, match="more than 5000 tools"):
                await upstreams.list_tools("hostile")
            hostile.definitions.pop()
            assert len(await upstreams.list_tools("hostile")) == TOOLS.most
        finally:
            await upstreams.close()


async def test_a_definition_changed_and_changed_back_while_the_ledger_was_away_is_not_shown_changed() -> None:
    offered, ledger_away = tool("charge", description="harmless"), False

    async def list_tools(_server: str) -> Offered:
        return {TOOLS.method: usable(TOOLS, [json.dumps(offered).encode()])[0]}

    async def keep(_inventory: ServerInventory) -> None:
        if ledger_away:
            raise Unavailable("locked")

    inventory = Inventory(["payments"], Mode.FRONT_DOOR, list_=list_tools, keep=keep)
    try:
        for description in ("harmless", "poisoned", "harmless"):
            ledger_away = description == "poisoned"
            offered = tool("charge", description=description)
            await inventory.refresh("payments")
            (shown,) = await inventory.fragments(["payments/charge"], View.FLAT)
            assert json.loads(shown.modern)["description"] == description
    finally:
        await inventory.close()


@pytest.mark.parametrize("nonsense", [b"1e999", b'"true"', b"9" * 400, b'{"a":[1e999]}', b"[" * 900 + b"]" * 900])
async def test_an_is_error_that_is_nonsense_reaches_the_agent_as_it_was_sent(
    world: World, answering: FakeBackend, nonsense: bytes
) -> None:
    answering.answer = lambda _params: b'{"content":[],"isError":' + nonsense + b"}"
    reply = await world.gateway.call("charge", token=world.token("tenant:a"))
    assert reply.status == 200
    assert b'"isError":' + nonsense in reply.body


async def test_thousands_of_definitions_are_checked_beside_the_loop() -> None:
    """The loop turns while they are: it would stand still for as long as the server likes."""
    hostile = FakeBackend(definitions=[tool(f"t{number}") for number in range(TOOLS.most)])
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def list_tools(_server: str) -> Offered:
        nonlocal turns
        turns = 0
        return {TOOLS.method: tools}

    async def keep(_inventory: ServerInventory) -> None:
        pass

    tools = usable(TOOLS, [json.dumps(one).encode() for one in hostile.definitions])[0]
    inventory = Inventory(["hostile"], Mode.FRONT_DOOR, list_=list_tools, keep=keep)
    turning = asyncio.create_task(turn())
    try:
        await inventory.refresh("hostile")
        assert turns > 50
    finally:
        turning.cancel()
        await asyncio.gather(turning, return_exceptions=True)
        await inventory.close()
