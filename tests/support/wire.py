"""A connection whose other end is the test: what comes when, byte by byte, without a socket in between."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Wire(asyncio.Transport):
    """Keeps what is written on it, and whether it was ended or is not read at the moment."""

    def __init__(self, protocol: asyncio.BaseProtocol) -> None:
        super().__init__()
        self.protocol = cast("asyncio.Protocol", protocol)
        self.written = bytearray()
        self.unsent = 0
        self.aborted = False
        self.paused = False
        protocol.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def abort(self) -> None:
        if not self.aborted:
            self.aborted = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    async def receive(self, pieces: Iterable[bytes]) -> None:
        """Let the pieces come in, each in a turn of its own."""
        for piece in pieces:
            if self.aborted:
                return
            self.protocol.data_received(piece)
            await turns()

    async def hang_up(self, error: Exception | None = None) -> None:
        """End the connection from the other side, cleanly or with an error."""
        if not self.aborted:
            self.aborted = True
            if error is None:
                self.protocol.eof_received()
            self.protocol.connection_lost(error)
        await turns()


class Wires:
    """Dials by making a wire; `made` are all of them."""

    def __init__(self) -> None:
        self.made: list[Wire] = []

    async def connect(self, factory: Callable[[], asyncio.BaseProtocol]) -> asyncio.BaseProtocol:
        self.made.append(Wire(factory()))
        return self.made[-1].protocol


async def turns(count: int = 3) -> None:
    """Let everything that is ready run."""
    for _ in range(count):
        await asyncio.sleep(0)
