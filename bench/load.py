"""The load generator: one process, raw HTTP/1.1 on keep-alive connections, so that it costs little itself.

Run as `python -m bench.load`; it reads jobs from standard input, one JSON object a line. It opens a job's connections,
sends one request and writes what was answered; after the line `go` it repeats the request on all of them until the
job is over, and writes the outcome. An answer that differs from the first in status or length counts as an error.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, cast

import orjson
import uvloop

# A job that takes longer than it should by this many seconds ends the process, so that nothing hangs.
GRACE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Job:
    """What to send where, on how many connections, and until when: `seconds` or `count`, whichever ends first.

    `rate` bounds the requests per second of all connections together.
    """

    port: int
    path: str
    headers: dict[str, str]
    body: str
    concurrency: int
    seconds: float = 60.0
    count: int | None = None
    rate: float | None = None
    host: str = "127.0.0.1"

    def request(self) -> bytes:
        """Return the request as it goes over the wire."""
        content = self.body.encode()
        lines = [f"POST {self.path} HTTP/1.1", f"Host: {self.host}:{self.port}", f"Content-Length: {len(content)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + content


class Connection(asyncio.Protocol):
    """One connection with at most one request under way; understands answers with a Content-Length."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._received = bytearray()
        self._head = 0
        self._whole = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Collect an answer."""
        self._received += data
        if not self._whole:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return
            self._head = end + 4
            self._whole = self._head + content_length(bytes(self._received[:end]))
        if len(self._received) >= self._whole and self._answer is not None:
            status, body = int(self._received[9:12]), bytes(self._received[self._head : self._whole])
            self._received.clear()
            self._whole = 0
            self._answer.set_result((status, body))

    def connection_lost(self, error: Exception | None) -> None:
        """Fail what is under way."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(f"closed before the answer: {error}"))

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """Send a request and return the status and the body of its answer."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError("closed between requests")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


@dataclass(slots=True)
class Outcome:
    """What became of a job; `latencies` in microseconds, of the good answers; `errors` counts the others by kind."""

    latencies: list[int] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    started: int = 0


def content_length(head: bytes) -> int:
    """Return the length that a response's head announces."""
    lower = head.lower()
    at = lower.find(b"\r\ncontent-length:")
    if at < 0:
        raise ValueError(f"an answer without a length: {head!r}")
    return int(lower[at + 17 :].split(b"\r\n", 1)[0])


async def connect(host: str, port: int) -> Connection:
    """Open a connection."""
    _, connection = await asyncio.get_running_loop().create_connection(Connection, host, port)
    return connection


async def repeat(connection: Connection, job: Job, expected: tuple[int, int], outcome: Outcome, until: float) -> None:
    """Send a job's request on one connection until `until` or until all connections have sent its count."""
    request = job.request()
    pause = job.concurrency / job.rate if job.rate else 0.0
    while (started := time.perf_counter()) < until and (job.count is None or outcome.started < job.count):
        outcome.started += 1
        try:
            status, body = await connection.send(request)
        except ConnectionError as error:
            outcome.errors[str(error)] += 1
            return
        ended = time.perf_counter()
        if (status, len(body)) == expected:
            outcome.latencies.append(int((ended - started) * 1e6))
        else:
            outcome.errors[f"{status} {body[:200].decode(errors='replace')}"] += 1
        if pause:
            await asyncio.sleep(max(0.0, started + pause - ended))


async def read_line(reader: asyncio.StreamReader) -> bytes:
    """Return a line of standard input, empty at its end."""
    return (await reader.readline()).strip()


def write(document: dict[str, Any]) -> None:
    """Write one line to standard output."""
    sys.stdout.buffer.write(orjson.dumps(document) + b"\n")
    sys.stdout.buffer.flush()


async def run(job: Job, reader: asyncio.StreamReader) -> None:
    """Do one job."""
    connections = [await connect(job.host, job.port) for _ in range(job.concurrency)]
    status, body = await connections[0].send(job.request())
    write({"status": status, "body": body.decode(errors="replace")})
    if await read_line(reader) == b"go":
        outcome = Outcome()
        cpu, started = time.process_time(), time.perf_counter()
        until = started + job.seconds
        async with asyncio.timeout(job.seconds + GRACE_SECONDS):
            await asyncio.gather(*(repeat(one, job, (status, len(body)), outcome, until) for one in connections))
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        write({"seconds": seconds, "errors": outcome.errors, "cpu": cpu, "latencies": outcome.latencies})
    for connection in connections:
        connection.close()


async def main() -> None:
    """Do jobs until standard input ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await read_line(reader):
        await run(Job(**orjson.loads(line)), reader)


if __name__ == "__main__":
    uvloop.run(main())
