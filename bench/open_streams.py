"""What open streams cost that say nothing: thousands of `subscriptions/listen` at once, and then time that passes."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from bench.asking import MODERN
from bench.figures import STREAM_BUDGET_KB
from bench.processes import resident_now_mib
from bench.stack import tenant_of

if TYPE_CHECKING:
    from bench.stack import Stack

SERVER = 50
SUBJECTS = 10
# A gateway holds so many connections of one address, and loopback has sixteen million.
PER_ADDRESS = 250
AT_ONCE = 6
SECONDS = 30.0
ACKNOWLEDGED = b"subscriptions/acknowledged"


class Listener(asyncio.Protocol):
    """One stream; `told` counts what came after the acknowledgement, keep-alives left out."""

    def __init__(self, request: bytes) -> None:
        self.told = 0
        self.acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Subscribe."""
        self._transport = transport  # type: ignore[assignment]
        self._transport.write(self._request)  # type: ignore[union-attr]

    def data_received(self, data: bytes) -> None:
        """Count."""
        if not self.acknowledged.done():
            if ACKNOWLEDGED in data:
                self.acknowledged.set_result(None)
            elif not data.startswith(b"HTTP/1.1 200"):
                self.acknowledged.set_exception(ConnectionError(data[:300].decode("latin-1")))
        elif b"data:" in data:
            self.told += 1

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()


def request(port: int, token: str) -> bytes:
    """Return a subscription as it goes over the wire."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"notifications": {"toolsListChanged": True}, "_meta": meta}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params}).encode()
    lines = ["POST /mcp HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Content-Length: {len(body)}"]
    lines += ["Content-Type: application/json", "Accept: application/json, text/event-stream"]
    lines += [f"MCP-Protocol-Version: {MODERN}", "Mcp-Method: subscriptions/listen", f"Authorization: Bearer {token}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def opened(stack: Stack, count: int) -> list[Listener]:
    """Open so many streams, of a few subjects and from a few addresses."""
    assert stack.gateway.tokens is not None
    tokens = [stack.gateway.tokens.mint(tenant_of(SERVER), f"agent-{number}") for number in range(SUBJECTS)]
    loop, port, free = asyncio.get_running_loop(), stack.gateway.port, asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> Listener:
        sent = request(port, tokens[number % SUBJECTS])
        source = (f"127.0.1.{1 + number // PER_ADDRESS}", 0)
        async with free, asyncio.timeout(SECONDS):
            _, listener = await loop.create_connection(lambda: Listener(sent), "127.0.0.1", port, local_addr=source)
            await listener.acknowledged
        return listener

    return await asyncio.gather(*map(one, range(count)))


async def measure(stack: Stack, count: int, seconds: float) -> dict[str, Any]:
    """Return what `count` streams need in memory, and in CPU for as long as nothing happens."""
    for listener in await opened(stack, min(count, 200)):
        # What is made once and kept is nobody's.
        listener.close()
    await asyncio.sleep(1.0)
    pid = stack.pids["gateway"]
    before, started = resident_now_mib(pid), stack.cpu()
    listeners = await opened(stack, count)
    after, open_ = resident_now_mib(pid), stack.cpu()
    await asyncio.sleep(seconds)
    idle = stack.cpu()
    told = sum(listener.told for listener in listeners)
    for listener in listeners:
        listener.close()
    return {
        "streams": count,
        "kb_each": round((after - before) * 1024 / count, 1),
        "budget_kb": STREAM_BUDGET_KB,
        "opening_cpu_us_each": {part: round((open_[part] - started[part]) / count * 1e6) for part in open_},
        "idle_seconds": seconds,
        "idle_cpu_percent": {part: round((idle[part] - open_[part]) / seconds * 100, 2) for part in idle},
        "told": told,
    }
