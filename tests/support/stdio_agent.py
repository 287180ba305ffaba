"""An agent on this machine that speaks to `portcullis stdio` by the line, as a client starts it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from tests.support.agents import META

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

SECONDS = 30
LIMIT = 64 * 1024 * 1024


@dataclass
class StdioAgent:
    """`process` is the gateway; `log` what it said on stderr so far."""

    process: asyncio.subprocess.Process
    folder: Path
    received: dict[Any, Any] = field(default_factory=dict)

    @property
    def log(self) -> str:
        """What it said on stderr."""
        return (self.folder / "stdio.log").read_text()

    def write(self, data: bytes) -> None:
        """Write bytes as they are."""
        assert self.process.stdin is not None
        self.process.stdin.write(data)

    def send(self, method: str, params: Any = None, id_: Any = None, *, modern: bool = False) -> None:
        """Send a request, or without an id a notification."""
        params = dict(params or {})
        if modern:
            params["_meta"] = META | params.get("_meta", {})
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        self.write(json.dumps(message if id_ is None else {**message, "id": id_}).encode() + b"\n")

    async def line(self) -> bytes:
        """Return the next line, nothing where there is none any more."""
        assert self.process.stdout is not None
        return await asyncio.wait_for(self.process.stdout.readline(), SECONDS)

    async def receive(self) -> Any:
        """Return the next message, None where there is none any more."""
        line = await self.line()
        return json.loads(line) if line else None

    async def answer(self, id_: Any) -> Any:
        """Return the answer to a request, whatever comes before it."""
        while id_ not in self.received:
            message = await self.receive()
            assert message is not None, self.log
            self.received[message["id"]] = message
        return self.received.pop(id_)

    async def ask(self, method: str, params: Any = None, id_: Any = 1, *, modern: bool = False) -> Any:
        """Send a request and return its answer."""
        self.send(method, params, id_, modern=modern)
        return await self.answer(id_)

    async def call(self, name: str, *, id_: Any = 1, modern: bool = False, **arguments: Any) -> Any:
        """Call a tool and return the answer."""
        return await self.ask("tools/call", {"name": name, "arguments": arguments}, id_, modern=modern)

    async def tools(self) -> list[str]:
        """Return the names of what is listed."""
        return [tool["name"] for tool in (await self.ask("tools/list"))["result"]["tools"]]

    async def hang_up(self) -> int:
        """Say that nothing more comes, and return the status that it ends with."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return await asyncio.wait_for(self.process.wait(), SECONDS)


def command(folder: Path, *options: str, state: Path | None = None) -> list[str]:
    """Return what a client's configuration would say."""
    where = ["--config", str(folder / "config.yaml"), "--state-dir", str(state or folder / "state")]
    return [sys.executable, "-m", "gateway", "stdio", *where, *options]


def write(folder: Path, config: Mapping[str, Any]) -> None:
    """Write the configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    # Two sections that a test made of one value would be written as an anchor, which is refused.
    (folder / "config.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(config, default=str)), sort_keys=False))


@asynccontextmanager
async def stdio_agent(
    folder: Path, config: Mapping[str, Any] | None, *options: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[StdioAgent]:
    """Start it on a configuration in a folder, and end it as a client does."""
    if config is not None:
        write(folder, config)
    with (folder / "stdio.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command(folder, *options),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env={**os.environ, **(environment or {})},
            limit=LIMIT,
        )
    agent = StdioAgent(process, folder)
    try:
        yield agent
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), SECONDS)
        assert process.stdout is not None
        await process.stdout.read()
