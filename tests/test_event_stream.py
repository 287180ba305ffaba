"""An answer that is a stream of events, as bytes: chunks that any client reads, none after the agent has gone."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.endpoints.event_stream import BATCH_BYTES, EventStream
from gateway.mcp import sse


class Wire:
    """The connection as the stream sees it: what was written, in writes; `closing` once the agent has gone."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closing = False
        self.ended = False
        self.writing_paused = False
        self.transport = self

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def enable_chunking(self) -> None:
        """Is done by the stream itself."""

    def send_headers(self) -> None:
        self.writes.append(b"head")

    async def write_headers(self, line: str, headers: Any) -> None:
        assert line.startswith("HTTP/1.1 200")
        assert headers["Transfer-Encoding"] == "chunked"

    async def write_eof(self) -> None:
        self.ended = True


def stream(wire: Wire) -> EventStream:
    request: Any = SimpleNamespace(writer=wire, protocol=wire, keep_alive=True)
    return EventStream(request, {})


def chunks(writes: list[bytes]) -> bytes:
    """Return what chunked writes carry, each of them one whole chunk."""
    found = b""
    for data in writes:
        size, _, rest = data.partition(b"\r\n")
        assert rest[int(size, 16) :] == b"\r\n"
        found += rest[: int(size, 16)]
    return found


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=2 * BATCH_BYTES), st.booleans()), max_size=8))
def test_everything_that_was_put_is_written_once_in_its_order_and_before_the_end(parts: list[tuple[bytes, bool]]):
    async def write() -> None:
        wire = Wire()
        made = stream(wire)
        await made.prepare(SimpleNamespace())  # type: ignore[arg-type]
        assert wire.writes.pop() == b"head"
        for part, turn in parts:
            made.put(part)
            if turn:
                await asyncio.sleep(0)
        await made.write_eof()
        assert chunks(wire.writes) == b"".join(part for part, _ in parts)
        assert wire.ended
        # What is waiting is bounded however much is said in one turn.
        assert len(wire.writes) >= sum(len(part) for part, _ in parts) // (3 * BATCH_BYTES)

    asyncio.run(write())


@given(st.lists(st.binary(min_size=1, max_size=100).filter(lambda data: data.strip(b"\r\n ")), min_size=1, max_size=20))
def test_events_of_one_turn_are_one_write_and_read_as_many(parts: list[bytes]):
    async def write() -> None:
        wire = Wire()
        made = stream(wire)
        await made.prepare(SimpleNamespace())  # type: ignore[arg-type]
        for part in parts:
            made.put(sse.written(part))
        await asyncio.sleep(0)
        assert len(wire.writes) == 2
        assert len(sse.Events(10_000).feed(chunks(wire.writes[1:]))) == len(parts)

    asyncio.run(write())


async def test_what_is_put_before_the_head_is_written_after_it():
    wire = Wire()
    made = stream(wire)
    made.put(sse.COMMENT)
    await asyncio.sleep(0)
    assert wire.writes == []
    await made.prepare(SimpleNamespace())  # type: ignore[arg-type]
    await made.write_eof()
    assert [wire.writes[0], chunks(wire.writes[1:])] == [b"head", sse.COMMENT]


async def test_nothing_is_written_to_an_agent_that_has_gone():
    wire = Wire()
    made = stream(wire)
    await made.prepare(SimpleNamespace())  # type: ignore[arg-type]
    assert not made.gone
    wire.closing = True
    made.put(sse.COMMENT)
    await asyncio.sleep(0)
    assert made.gone
    assert wire.writes == [b"head"]
