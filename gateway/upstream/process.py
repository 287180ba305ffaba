"""One process of a server that runs here: started under a guard, written to, read, and ended in steps."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

from gateway.mcp.lines import Lines, one_line
from gateway.upstream.failures import MAX_ANSWER_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.child import Command

GUARD = Path(__file__).parent.with_name("guard.py")
# How long a process has to end by itself once its stdin is closed, and then once it is told to; 2025-11-25,
# basic/lifecycle leaves the times to us.
EOF_SECONDS = 2.0
TERM_SECONDS = 2.0
# Killed itself, a guard would leave what it has not found yet.
KILL_SECONDS = 10.0
# What has ended says so by the end of its output; a stranger may hold that open.
LAST_WORDS_SECONDS = 1.0
# After so much on stderr the next is read a while later: who floods it waits, and costs nobody else anything.
STDERR_BYTES = 4 * 1024 * 1024
STDERR_SECONDS = 1.0


class Ended(ConnectionError):
    """Nothing more can be written to a process, or comes from it; the text is a verb phrase."""


class Process(asyncio.SubprocessProtocol):
    """A running command. `hear` gets each line of its stdout, `say` what it writes to stderr, piece by piece.

    `end` is called once, when nothing more can come from it; `why` then says why, `gone` is set once it has ended.
    """

    def __init__(self, hear: Callable[[bytes], None], say: Callable[[bytes], None], end: Callable[[], None]) -> None:
        self.ended = False
        self.why = "ended before it answered"
        self.gone = asyncio.Event()
        self._closed = asyncio.Event()
        self._hear = hear
        self._say = say
        self._end = end
        self._lines = Lines(MAX_ANSWER_BYTES)
        self._complained = 0
        self._transport: asyncio.SubprocessTransport | None = None
        self._stdin: asyncio.WriteTransport | None = None
        self._room = asyncio.Event()
        self._room.set()
        self._lifeline: int | None = None

    async def start(self, command: Command) -> Self:
        """Start it; raises OSError where it cannot be, though not where there is no such command: that ends it."""
        theirs, ours = os.pipe()
        try:
            await asyncio.get_running_loop().subprocess_exec(
                lambda: self, sys.executable, "-IS", str(GUARD), str(theirs), *map(str, command.arguments),
                env=dict(command.environment), cwd=command.directory, pass_fds=(theirs,), start_new_session=True,
            )  # fmt: skip
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        self._lifeline = ours
        return self

    @property
    def pid(self) -> int:
        """The process id of its guard."""
        return self._transport.get_pid() if self._transport is not None else 0

    @property
    def status(self) -> int | None:
        """What it ended with; None while it runs."""
        return self._transport.get_returncode() if self._transport is not None else None

    async def write(self, line: bytes) -> None:
        """Write a line once there is room for it; raises Ended where nobody reads it."""
        while not self._room.is_set():
            await self._room.wait()
        if not self.write_now(line):
            raise Ended(self.why)

    def write_now(self, line: bytes, *, squeezing: bool = False) -> bool:
        """Write a line if there is room for it and somebody reads it, and return whether that was so.

        What is `squeezing` in needs no room: a few words about a request that had room.
        """
        if self.ended or self._stdin is None or self._stdin.is_closing():
            return False
        if not squeezing and not self._room.is_set():
            return False
        self._stdin.write(one_line(line) + b"\n")
        return True

    async def stop(self) -> None:
        """End it: close its stdin, then tell it to, then kill it with all that it has started."""
        self.fail("was stopped")
        if self._stdin is not None:
            self._stdin.close()
        if not await self._gone_within(EOF_SECONDS):
            self._signal(signal.SIGTERM)
            if not await self._gone_within(TERM_SECONDS):
                await self._kill()
        self._forget_lifeline()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await self._closed.wait()
        if self._transport is not None:
            self._transport.close()

    async def _kill(self) -> None:
        # The guard kills everything, and ends with it; its server may have stopped it.
        self._forget_lifeline()
        self._signal(signal.SIGCONT)
        if not await self._gone_within(KILL_SECONDS):
            self._signal(signal.SIGKILL)
            await self.gone.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._transport is not None:
            with contextlib.suppress(ProcessLookupError):
                self._transport.send_signal(number)

    def _forget_lifeline(self) -> None:
        lifeline, self._lifeline = self._lifeline, None
        if lifeline is not None:
            os.close(lifeline)

    async def _gone_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self.gone.wait()
        except TimeoutError:
            return False
        return True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the streams."""
        self._transport = cast("asyncio.SubprocessTransport", transport)
        self._stdin = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0))

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Hand on what it says."""
        if fd == 2:
            self._say(data)
            self._slow_down(len(data))
            return
        for line in self._lines.feed(data) if not self.ended else ():
            if line is None:
                # Whose answer it was, nobody knows.
                self.fail(f"wrote a line of more than {MAX_ANSWER_BYTES // 1024 // 1024} MiB")
            else:
                self._hear(line)
            if self.ended:
                break

    def _slow_down(self, size: int) -> None:
        self._complained += size
        stderr = self._transport.get_pipe_transport(2) if self._transport is not None else None
        if self._complained >= STDERR_BYTES and stderr is not None:
            self._complained = 0
            reading = cast("asyncio.ReadTransport", stderr)
            reading.pause_reading()
            asyncio.get_running_loop().call_later(STDERR_SECONDS, reading.resume_reading)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002
        """Take the end of its stdout, or of its reading, for its own."""
        if fd != 2:
            self.fail(self.why)

    def process_exited(self) -> None:
        """Note that it runs no more; what it said at last may still be on its way."""
        self.gone.set()
        asyncio.get_running_loop().call_later(LAST_WORDS_SECONDS, self.fail, self.why)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Note that it has said its last words."""
        self._closed.set()

    def pause_writing(self) -> None:
        """Let writers wait until it has read more."""
        self._room.clear()

    def resume_writing(self) -> None:
        """Let writers go on."""
        self._room.set()

    def fail(self, why: str) -> None:
        """Take no more of it, and give what is waited for up."""
        if not self.ended:
            self.ended, self.why = True, why
            self._room.set()
            self._end()
