"""Many at once: what one address sends and never ends is bounded in all, and costs nobody else anything."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.endpoints.bodies import LEAST_BYTES
from tests.support.raw import request, status
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.conftest import World

LARGEST = 4 * 1024 * 1024
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected_from(world: World, address: str) -> AsyncIterator[Streams]:
    """Connect to the gateway from another address of this machine."""
    parts = urlsplit(world.gateway.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, local_addr=(address, 0))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def ping(world: World, size: int) -> tuple[bytes, bytes]:
    """Return the head and the body of a good request of exactly so many bytes."""
    message = {"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"pad": ""}}
    message["params"] = {"pad": "x" * (size - len(json.dumps(message)))}
    lines = ["Content-Type: application/json", f"Authorization: Bearer {world.token('tenant:a')}"]
    head, _, body = request("POST /mcp HTTP/1.1", *lines, body=json.dumps(message).encode()).partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", body


async def answered(world: World, address: str, size: int) -> int | None:
    """Send a body behind its head, from an address, and return the status of the answer."""
    head, body = ping(world, size)
    async with connected_from(world, address) as (reader, writer):
        writer.write(head)
        await writer.drain()
        writer.write(body)
        return status(await reader.read())


async def test_a39_bodies_that_never_end_take_no_more_memory_than_there_is_for_them_and_nobody_elses_place(
    world: World,
) -> None:
    head, body = ping(world, LARGEST)
    async with AsyncExitStack() as stack:
        readers = []
        # One more than an address may have of the budget: half of it, as long as it is alone.
        for _ in range(LEAST_BYTES // 2 // LARGEST + 1):
            reader, writer = await stack.enter_async_context(connected_from(world, "127.0.0.5"))
            writer.write(head + body[:-1])
            readers.append(asyncio.ensure_future(reader.read()))
        done, waiting = await asyncio.wait(readers, return_when=asyncio.FIRST_COMPLETED, timeout=10)
        (refusal,) = [one.result() for one in done]
        assert status(refusal) == 503
        assert b"\r\nRetry-After: " in refusal
        assert len(waiting) == len(readers) - 1
        assert await answered(world, "127.0.0.5", LARGEST) == 503
        assert await answered(world, "127.0.0.6", LARGEST) == 200
        for one in waiting:
            one.cancel()
    await until(lambda: freed(world), what="what they held is given back")
    (event, *_) = await world.gateway.events(type="RequestRefused", reason="too_much_at_once")
    assert (event["outcome"], event["source"]["ip"]) == ("failure", "127.0.0.5")


async def freed(world: World) -> bool:
    return await answered(world, "127.0.0.5", LARGEST) == 200
