"""README.md, executed: every command block, in order, against the demo that its own first command starts."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import Running, free_port, running
from tests.support.shell import path_with_stand_ins
from tests.support.wait import until

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(\S*)([^\n]*)\n(.*?)^```$(?:\n^```(json|text)\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
START_SECONDS = 90
STOP_SECONDS = 40
FLAGS = ("--port", "--server-port", "--issuer-port")
# What a running gateway notices by itself it may notice a moment later.
PATIENCE_SECONDS = 15


@dataclass(frozen=True)
class Block:
    """Commands, and what they are said to print; None where nothing is said. `info` says where they run."""

    commands: str
    info: str
    kind: str | None
    expected: str | None


def blocks() -> list[Block]:
    found = [
        Block(m[3], m[2].strip(), m[4], m[5]) for m in BLOCK.finditer((ROOT / "README.md").read_text()) if m[1] == "sh"
    ]
    assert len(found) > 10
    return found


def as_said(kind: str | None, expected: str | None, printed: str) -> bool:
    """Whether the output is what README shows; `…` stands for anything on its line, alone on a line for any lines."""
    if expected is None:
        return True
    if kind == "json":
        return holds(json.loads(expected), json.loads(printed or "null"))
    lines = [
        r"(?:.*\n)*" if line == "…" else re.escape(line).replace("…", ".*") + r"\n" for line in expected.splitlines()
    ]
    return re.fullmatch("".join(lines), printed.replace("\r\n", "\n").rstrip() + "\n") is not None


def holds(shown: dict[str, Any], document: Any) -> bool:
    if "…" in shown:
        return isinstance(document, dict) and all(
            document.get(name) == value for name, value in shown.items() if name != "…"
        )
    return bool(shown == document)


@dataclass(frozen=True)
class Reader:
    """Somebody with a checkout in `folder` who pastes commands into terminals, with other ports than the defaults."""

    folder: Path
    ports: dict[int, int]

    @property
    def environment(self) -> dict[str, str]:
        """What makes `make run` use these ports, and where curl and jq are."""
        flags = " ".join(f"{flag} {port}" for flag, port in zip(FLAGS, self.ports.values(), strict=True))
        return {"ARGS": flags, "PATH": path_with_stand_ins(self.folder / "bin", os.environ["PATH"])}

    def elsewhere(self, text: str) -> str:
        """Return text with this reader's ports in place of README's."""
        for usual, own in self.ports.items():
            text = text.replace(f"localhost:{usual}", f"localhost:{own}")
        return text

    def paste(self, commands: str, before: list[str]) -> str:
        """Run commands in a shell in which `before` was run already, and return what they print; they must succeed."""
        script = "\n".join(["set -euo pipefail", *before, self.elsewhere(commands)])
        environment = os.environ | self.environment | {"ARGS": ""}
        done = subprocess.run(
            ["bash", "-c", script],
            check=False,
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        if done.returncode:
            raise RuntimeError(f"{script}\n{done.stdout}{done.stderr}")
        return done.stdout


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """A copy of the checkout that has been set up: its environment is the one of the tests."""
    folder = tmp_path_factory.mktemp("checkout")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in filter(None, listing.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    environment = folder / ".venv"
    (environment / ".stamps").mkdir(parents=True)
    for part in Path(sys.prefix).iterdir():
        if part.name != ".stamps":
            (environment / part.name).symlink_to(part)
    for stamp in ("python", "requirements", "project", "opa"):
        (environment / ".stamps" / stamp).touch()
    return Reader(folder, {usual: free_port() for usual in (8000, 8080, 9090)})


async def test_every_command_block_of_the_readme_does_what_it_says(reader: Reader):
    assert {block.info for block in blocks()} == {"", "terminal"}
    before: list[str] = []
    with ExitStack() as terminal:
        for number, block in enumerate(blocks()):
            if block.info == "terminal":
                terminal.close()
                await in_terminal(terminal, reader, block.commands, f"terminal-{number}")
                continue
            await shown(reader, block, before)
            if block.commands.startswith(". "):
                before.append(block.commands)


async def shown(reader: Reader, block: Block, before: list[str]) -> None:
    """Paste a block until it prints what README shows."""
    expected = block.expected and reader.elsewhere(block.expected)
    printed = ""

    def as_expected() -> bool:
        nonlocal printed
        printed = reader.paste(block.commands, before)
        return as_said(block.kind, expected, printed)

    try:
        await until(as_expected, PATIENCE_SECONDS)
    except AssertionError:
        assert f"{block.commands}{printed}" == f"{block.commands}{expected}"
        raise


async def in_terminal(terminal: ExitStack, reader: Reader, commands: str, name: str) -> None:
    """Run the demo until the terminal is closed, which is Ctrl-C."""
    environment = reader.environment
    if found := re.search(r' ARGS="(.*)"', commands):
        environment["ARGS"] += f" {found[1]}"
        commands = commands.replace(found[0], "")
    demo = terminal.enter_context(running(["bash", "-c", commands], reader.folder, name=name, environment=environment))
    await until(lambda: demo.require() or "Ctrl-C" in demo.out.read_text(), START_SECONDS, "the demo runs")
    terminal.callback(interrupt, demo, reader)


def interrupt(demo: Running, reader: Reader) -> None:
    """Press Ctrl-C, and see that everything is gone."""
    os.killpg(demo.popen.pid, signal.SIGINT)
    demo.popen.wait(STOP_SECONDS)
    assert "Stopped." in demo.out.read_text()
    assert not any(map(listens, reader.ports.values()))


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
