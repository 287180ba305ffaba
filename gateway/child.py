"""A supervised child process: restarted when it ends, gone when the process that started it is gone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from gateway import background

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

LOG = logging.getLogger("portcullis.child")
FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 2.0
RAN_WELL_SECONDS = 10.0
GRACE_SECONDS = 3.0
MAX_LINE_BYTES = 4_096
LEASH = Path(__file__).with_name("leash.py")


@dataclass(frozen=True, slots=True)
class Command:
    """What to run. `fds` are inherited; of the environment only what is given here."""

    name: str
    arguments: Sequence[str | Path]
    environment: Mapping[str, str]
    directory: Path
    fds: tuple[int, ...] = ()


@dataclass(slots=True)
class Child:
    """Runs a command for as long as it is entered.

    `say` gets each line of its output, `starting` is told before each start, `started` each new pid.
    """

    command: Command
    say: Callable[[bytes], None]
    starting: Callable[[], None] = lambda: None
    started: Callable[[int], None] = lambda _: None
    grace_seconds: float = GRACE_SECONDS
    restarts: int = 0
    last_words: str = ""
    _process: Process | None = None
    _supervisor: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int | None:
        """The running process's id, or None while there is none."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    @property
    def trouble(self) -> str | None:
        """Why it does not run at the moment, or None while it does."""
        if self.pid is not None:
            return None
        return f"{self.command.name} is not running" + (f": {self.last_words}" if self.last_words else "")

    async def __aenter__(self) -> Self:
        self._supervisor = asyncio.get_running_loop().create_task(self._supervise(), name=self.command.name)
        self._supervisor.add_done_callback(background.report)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._supervisor is not None:
            self._supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervisor

    async def _supervise(self) -> None:
        loop = asyncio.get_running_loop()
        delay = FIRST_DELAY_SECONDS
        while True:
            began = loop.time()
            await self._run()
            if loop.time() - began >= RAN_WELL_SECONDS:
                delay = FIRST_DELAY_SECONDS
            LOG.error("%s; starting it again", self.trouble)
            await asyncio.sleep(random.uniform(delay / 2, delay))  # noqa: S311
            delay = min(delay * 2, LONGEST_DELAY_SECONDS)
            self.restarts += 1

    async def _run(self) -> None:
        """Run it once, until it ends or this task is cancelled."""
        try:
            self.starting()
            process = await self._spawn()
        except OSError as error:
            self.last_words = str(error)
            return
        self._process, self.last_words = process, ""
        try:
            self.started(process.pid)
            await self._relay(process)
            status = await process.wait()
            self.last_words = self.last_words or f"it ended with status {status}"
        finally:
            await _end(process, self.grace_seconds)
            self._process = None

    async def _spawn(self) -> Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-IS",
            LEASH,
            str(os.getpid()),
            *self.command.arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,  # where OPA writes why it cannot start
            stderr=asyncio.subprocess.STDOUT,
            env=dict(self.command.environment),
            cwd=self.command.directory,
            pass_fds=self.command.fds,
            # Ctrl-C at a terminal goes to the whole process group; a child must outlive the calls being drained.
            start_new_session=True,
        )

    async def _relay(self, process: Process) -> None:
        """Hand on what it says, line by line, until it closes its output."""
        assert process.stdout is not None
        rest = b""
        while data := await process.stdout.read(8_192):
            *lines, rest = (rest + data).split(b"\n")
            rest = rest[:MAX_LINE_BYTES]
            for line in lines:
                self.say(line[:MAX_LINE_BYTES])
        self.say(rest)


async def _end(process: Process, grace_seconds: float) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), grace_seconds)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
