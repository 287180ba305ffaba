"""The official conformance suite as a process, and what it found."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.conformance import npm

if TYPE_CHECKING:
    from collections.abc import Sequence

# The suite bounds no scenario of servers itself; whole runs take seconds.
RUN_SECONDS = 240
_RESULT = re.compile(r"server-(.+)-\d{4}-\d\d-\d\dT[\dZ-]+")


@dataclass(frozen=True, slots=True)
class Run:
    """One way to run the suite; `passed` and `failed` count the checks when the fixture is asked directly."""

    name: str
    revision: str
    arguments: tuple[str, ...]
    passed: int
    failed: int


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that the suite looked at; `message` says what was wrong."""

    scenario: str
    id: str
    status: str
    message: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What a check is compared by; a scenario may have several of one id."""
        return (self.scenario, self.id)


@dataclass(frozen=True)
class Found:
    """What a run found, in the order in which it looked; `output` is what it printed."""

    checks: tuple[Check, ...]
    output: str = field(default="", repr=False)

    @cached_property
    def passed(self) -> Counter[tuple[str, str]]:
        """How often each check passed."""
        return Counter(check.key for check in self.checks if check.status == "SUCCESS")

    @cached_property
    def failed(self) -> Counter[tuple[str, str]]:
        """How often each check failed."""
        return Counter(check.key for check in self.checks if check.status == "FAILURE")

    def message(self, key: tuple[str, str]) -> str:
        """Return what was wrong with a check that did not pass, or what went wrong in its scenario before it."""
        wrong = [one for one in self.checks if one.scenario == key[0] and one.status != "SUCCESS"]
        own = next((one.message or one.status.lower() for one in wrong if one.key == key), None)
        before = next((one.message or one.id for one in wrong if one.status in ("FAILURE", "WARNING")), None)
        return own or (f"not looked at: {before}" if before else "not looked at")


def runs(revision: str | None = None) -> list[Run]:
    """Return the runs of `runs.yaml`, those of one wire version or all."""
    # The base loader leaves a date the text that it is.
    every = yaml.load(Path(__file__).with_name("runs.yaml").read_text(), yaml.BaseLoader)
    made = [
        Run(one["name"], one["revision"], tuple(one["arguments"]), int(one["passed"]), int(one["failed"]))
        for one in every
    ]
    return [run for run in made if revision in (None, run.revision)]


def scored(run: Run) -> frozenset[str]:
    """Return the scenarios that the run's revision requires of servers, where the run is of those; else none."""
    if "--requirements" not in run.arguments:
        return frozenset()
    required = yaml.safe_load((npm.SUITE / "requirements" / f"{run.revision}.yaml").read_text())
    return frozenset(required["server"])


async def look(url: str, arguments: Sequence[str], folder: Path) -> Found:
    """Run the suite against a server, with a folder of its own for its results."""
    command = [npm.node(), str(npm.SUITE / "dist" / "index.js"), "server", "--url", url, *arguments, "-o", str(folder)]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), RUN_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Found(tuple(results(folder)), output.decode(errors="replace"))


def results(folder: Path) -> list[Check]:
    """Read what a run has written: a scenario that fell over has a folder with nothing in it."""
    checks: list[Check] = []
    for one in sorted(folder.glob("server-*"), key=lambda path: path.stat().st_mtime_ns):
        scenario = _RESULT.fullmatch(one.name)
        assert scenario, one
        path = one / "checks.json"
        if path.exists():
            checks += [_check(scenario[1], written) for written in json.loads(path.read_text())]
        else:
            checks.append(Check(scenario[1], scenario[1], "FAILURE", "the scenario fell over"))
    return checks


def _check(scenario: str, written: dict[str, Any]) -> Check:
    return Check(scenario, written["id"], written["status"], written.get("errorMessage") or "")
