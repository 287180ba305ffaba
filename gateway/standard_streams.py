"""The standard streams of this process, taken over for one conversation: whatever else prints, prints to stderr."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

READ_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Where what the other side says is read, and where it is answered."""

    read: int
    write: int

    @classmethod
    def taken(cls) -> Self:
        """Take stdin and stdout away from everybody else in this process, and from its children."""
        sys.stdout.flush()
        taken = cls(os.dup(0), os.dup(1))
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        return taken


class StandardStreams:
    """Lines out, chunks in; entered with `opened` in a running loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None, descriptors: Descriptors):
        self._reader = reader
        self._writer = writer
        self._descriptors = descriptors
        self._over = False

    @classmethod
    async def opened(cls, descriptors: Descriptors) -> Self:
        """Return the streams behind these descriptors."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(READ_BYTES)
        if not _is_file(descriptors.read):
            protocol = asyncio.StreamReaderProtocol(reader)
            await loop.connect_read_pipe(lambda: protocol, os.fdopen(descriptors.read, "rb", 0))
        writer = None
        if not _is_file(descriptors.write):
            transport, flow = await loop.connect_write_pipe(
                asyncio.streams.FlowControlMixin, os.fdopen(descriptors.write, "wb", 0)
            )
            writer = asyncio.StreamWriter(transport, flow, None, loop)
        return cls(reader, writer, descriptors)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield what comes until it ends, or `end` is called."""
        while not self._over and (chunk := await self._next()):
            yield chunk

    async def _next(self) -> bytes:
        if _is_file(self._descriptors.read):
            return await asyncio.to_thread(os.read, self._descriptors.read, READ_BYTES)
        return await self._reader.read(READ_BYTES)

    def end(self) -> None:
        """Read nothing more."""
        self._over = True
        self._reader.feed_eof()

    async def say(self, line: bytes) -> None:
        """Write a line once there is room for it; where nobody reads any more there is nothing to be said."""
        if self._writer is None:
            os.write(self._descriptors.write, line + b"\n")
            return
        try:
            self._writer.write(line + b"\n")
            await self._writer.drain()
        except ConnectionError:
            self.end()


def _is_file(descriptor: int) -> bool:
    """Whether it is something that a loop cannot wait for, and that nobody has to wait for: a file, or /dev/null."""
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISREG(mode) or (stat.S_ISCHR(mode) and not os.isatty(descriptor))
