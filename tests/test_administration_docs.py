"""docs/administration.md, executed: every command on it, in order, at a running gateway."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.endpoints.problems import PROBLEMS
from gateway.permissions import Permission
from tests.support.shell import path_with_stand_ins

if TYPE_CHECKING:
    from tests.conftest import World

PAGE = (Path(__file__).parent.parent / "docs" / "administration.md").read_text()
BLOCK = re.compile(r"^```sh\n(.*?)^```$(?:\n^```json\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
VOLATILE = ("revision",)


def shows(expected: dict[str, Any], found: dict[str, Any]) -> bool:
    """Say whether an answer is what the page shows of it; `…` stands for the rest."""
    return all(found.get(name) == value for name, value in expected.items() if name != "…")


async def test_every_command_of_the_page_works_and_answers_what_it_shows(office: World, tmp_path: Path) -> None:
    environment = {
        "PATH": path_with_stand_ins(tmp_path / "bin", os.environ["PATH"]),
        "GATEWAY": office.gateway.url,
        "KEY": office.admin_key,
        "JWT": office.token("tenant:a", sub="documented"),
    }
    blocks = BLOCK.findall(PAGE)
    assert len(blocks) > 6
    for commands, expected in blocks:
        process = await asyncio.create_subprocess_exec(
            "bash", "-euc", commands, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await process.communicate()
        assert (process.returncode, err) == (0, b""), (commands, err)
        answers = documents(out.decode())
        assert answers, commands
        assert not [answer for answer in answers if "status" in answer and "title" in answer], (commands, answers)
        if expected:
            assert shows(json.loads(expected), answers[-1]), (commands, answers[-1])


def documents(text: str) -> list[dict[str, Any]]:
    """Return the JSON documents that stand one behind the other."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(text.rstrip()):
        document, at = decoder.raw_decode(text, at)
        found.append(document)
        at += len(text[at:]) - len(text[at:].lstrip())
    return found


def test_every_status_of_a_refusal_is_on_the_page():
    told = {int(status) for row in re.findall(r"^\| ([\d, ]+) \|", PAGE, re.MULTILINE) for status in row.split(", ")}
    # A server that fails is MCP's business, and 500 is a defect.
    assert {problem.status for problem in PROBLEMS.values()} - {500, 502} <= told


def test_every_right_on_the_page_is_one():
    rights = set(re.findall(r"`([a-z_]+:[a-z_]+)`", PAGE.partition("## Rights")[2].partition("## API keys")[0]))
    assert rights <= {one.value for one in Permission}
