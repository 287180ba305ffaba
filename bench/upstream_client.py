"""What one exchange with an MCP server costs the gateway in CPU: its own client beside aiohttp's, in one run.

    python -m bench.upstream_client [--exchanges 4000] [--rounds 7]

A stub in a process of its own answers whatever it is asked, in the ways that servers have: JSON, a stream with nothing
but the answer, and a stream of progress before it, all at once or each event on its own. Rounds of the two clients
alternate, so that what else the machine does falls on both; CPU is this process's (`time.process_time`), of the
cheapest round and of the median.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import multiprocessing
import re
import socket
import statistics
import time
from typing import TYPE_CHECKING

import aiohttp
import orjson
import uvloop

from gateway.addresses import Addresses
from gateway.mcp.answers import Answer, parse
from gateway.mcp.sse import Events
from gateway.net import guarded_session
from gateway.upstream.errands import Errands
from gateway.upstream.failures import MAX_ANSWER_BYTES
from gateway.upstream.http import Endpoint
from gateway.upstream.pool import connect
from gateway.upstream.target import Target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    Ask = Callable[[int], Awaitable[object]]

HEADERS = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "charge"}
EVENTS = 200
PAUSE_SECONDS = 0.001
PROGRESS = b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":%d,"total":200}}'
RESULT = b'{"resultType":"complete","content":[{"type":"text","text":"%b"}],"isError":false}' % (b"x" * 100)
_ID = re.compile(rb'"id":(\d+)')


class Stub(asyncio.Protocol):
    """Answers each write with one answer: the clients write a request at once, or its body last."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport
        self.target = b""

    def data_received(self, data: bytes) -> None:
        """Answer what has an id in it, in the way that the path says."""
        if data.startswith(b"POST /"):
            self.target = data[6:10]
        if found := _ID.search(data):
            self.write(self.answer(found[1]))

    def write(self, parts: list[bytes]) -> None:
        """Write a whole answer, or one part of it and the others later."""
        first, rest = (parts[:1], parts[1:]) if self.target == b"drip" else (parts, [])
        self.transport.write(b"".join(first))  # type: ignore[attr-defined]
        if rest:
            asyncio.get_running_loop().call_later(PAUSE_SECONDS, self.write, rest)

    def answer(self, id_: bytes) -> list[bytes]:
        """Return a whole answer in parts."""
        body = b'{"jsonrpc":"2.0","id":' + id_ + b',"result":' + RESULT + b"}"
        if self.target == b"json":
            return [head(b"application/json; charset=utf-8", b"Content-Length: %d" % len(body)) + body]
        before = [PROGRESS % number for number in range(EVENTS)] if self.target in (b"many", b"drip") else []
        events = [chunk(b"event: message\r\ndata: " + data + b"\r\n\r\n") for data in [*before, body]]
        return [head(b"text/event-stream", b"Transfer-Encoding: chunked"), *events, b"0\r\n\r\n"]


def head(content_type: bytes, framing: bytes) -> bytes:
    """Return a head as common servers send it."""
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()).encode()
    lines = (b"HTTP/1.1 200 OK", b"Content-Type: " + content_type, framing, b"Date: " + date, b"Server: bench/1")
    return b"\r\n".join(lines) + b"\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """Return data as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def serve_stub(port: int) -> None:
    """Serve until the process is ended."""

    async def serve() -> None:
        await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", port)
        await asyncio.Event().wait()

    uvloop.run(serve())


@contextlib.contextmanager
def stub() -> Iterator[str]:
    """Yield the address of a stub that runs in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    process = multiprocessing.get_context("spawn").Process(target=serve_stub, args=(port,))
    process.start()
    try:
        while True:
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.join()


@contextlib.asynccontextmanager
async def ours(url: str) -> AsyncIterator[Ask]:
    """Yield what asks with the gateway's own client."""
    target, errands = Target("bench", url), Errands()
    connections = connect(target)
    endpoint = Endpoint(target, connections, errands)

    async def ask(id_: int) -> object:
        return (await endpoint.ask(id_, request(id_), HEADERS)).answer

    yield ask
    await connections.close()


@contextlib.asynccontextmanager
async def theirs(url: str) -> AsyncIterator[Ask]:
    """Yield what asks with aiohttp's client, made as strict as the gateway's."""
    own = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    forever = aiohttp.ClientTimeout(total=None)
    async with guarded_session(Addresses.of_server()) as session:

        async def ask(id_: int) -> object:
            headers = {**own, **HEADERS}
            async with session.post(
                url, data=request(id_), headers=headers, allow_redirects=False, timeout=forever
            ) as response:
                if response.content_type == "application/json":
                    return parse(await response.read(), id_)
                events, answer = Events(MAX_ANSWER_BYTES), None
                async for data in response.content.iter_any():
                    for event in events.feed(data):
                        answer = parse(event.data, id_)
                return answer

        yield ask


def request(id_: int) -> bytes:
    """Return a call."""
    params = {"name": "charge", "arguments": {"amount": 10}, "_meta": {"traceparent": "00-1-2-01"}}
    return orjson.dumps({"jsonrpc": "2.0", "id": id_, "method": "tools/call", "params": params})


async def spent(ask: Ask, exchanges: int, at_once: int) -> float:
    """Return the CPU microseconds of one exchange."""

    async def some(first: int) -> None:
        for number in range(exchanges // at_once):
            if not isinstance(await ask(first + number), Answer):
                raise SystemExit("the stub was not understood")

    gc.collect()
    before = time.process_time()
    await asyncio.gather(*(some(1 + place * exchanges) for place in range(at_once)))
    return (time.process_time() - before) / (exchanges // at_once * at_once) * 1e6


async def compare(what: str, url: str, exchanges: int, at_once: int, rounds: int, per: int = 1) -> None:
    """Print what the two clients cost, in turns."""
    costs: dict[str, list[float]] = {"ours": [], "aiohttp": []}
    async with ours(url) as our_ask, theirs(url) as their_ask:
        for _ in range(rounds):
            costs["ours"].append(await spent(our_ask, exchanges, at_once) / per)
            costs["aiohttp"].append(await spent(their_ask, exchanges, at_once) / per)
    best, middle = ({name: how(values) for name, values in costs.items()} for how in (min, statistics.median))
    print(
        f"{what:16} {at_once:3} at once: ours {best['ours']:6.1f} µs best, {middle['ours']:6.1f} median;"
        f" aiohttp {best['aiohttp']:6.1f}, {middle['aiohttp']:6.1f}; median {middle['ours'] / middle['aiohttp']:.2f}"
    )


async def run(exchanges: int, rounds: int) -> None:
    """Measure everything."""
    with stub() as url:
        for at_once in (1, 16):
            await compare("JSON", f"{url}/json", exchanges, at_once, rounds)
            await compare("a stream", f"{url}/sse_", exchanges, at_once, rounds)
        await compare("one of a flood", f"{url}/many", max(16, exchanges // 40), 1, rounds, per=EVENTS)
        await compare("one event", f"{url}/drip", 8, 8, rounds, per=EVENTS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exchanges", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    uvloop.run(run(options.exchanges, options.rounds))
