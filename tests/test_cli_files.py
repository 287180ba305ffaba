"""`portcullis check`, `replica`, `audit tail` and the way commands fail."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from gateway.cli.common import plain
from gateway.facts import Replica
from gateway.ledger.connect import open_ledger
from gateway.model import AuditEvent
from gateway.state import StateDir
from tests.support.files import RECIPE, written

if TYPE_CHECKING:
    from pathlib import Path

WARNED = "server: {host: 0.0.0.0}\nauth: {enabled: true}\n"


def portcullis(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def test_check_of_the_recipe_finds_nothing_but_a_server_that_is_not_there(tmp_path: Path):
    recipe = written(tmp_path, RECIPE.read_text().replace("localhost:8080", "localhost:9"))
    done = portcullis("check", "--config", str(recipe))
    lines = ["warning: server payments cannot be listed: it cannot be reached", f"{recipe}: 0 errors, 1 warning"]
    assert (done.exit_code, done.stdout.splitlines()) == (0, lines)


def test_check_prints_warnings_and_succeeds(tmp_path: Path):
    done = portcullis("check", "--config", str(written(tmp_path, WARNED)))
    assert done.exit_code == 0
    assert done.stdout.startswith("warning: server.host: plain http on 0.0.0.0")
    assert done.stdout.endswith(": 0 errors, 1 warning\n")


def test_check_prints_every_mistake_with_its_line_and_fails(tmp_path: Path):
    path = written(tmp_path, "auth: {enabeld: true}\nservre: {}\n")
    done = portcullis("check", "--config", str(path))
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        f"error: {path}:1: auth.enabeld: unknown key; did you mean enabled?",
        f"error: {path}:2: servre: unknown key; did you mean server?",
        f"{path}: 2 errors, 0 warnings",
    ]


@pytest.mark.parametrize(
    ("text", "ok", "levels"), [(WARNED, True, ["warning"]), ("a: 1\nb: 2\n", False, ["error", "error"])]
)
def test_check_speaks_json_to_programs(tmp_path: Path, text: str, ok: bool, levels: list[str]):
    found = json.loads(portcullis("check", "--json", "--config", str(written(tmp_path, text))).stdout)
    assert (found["ok"], [one["level"] for one in found["found"]]) == (ok, levels)


async def test_replicas_are_listed_and_forgotten_by_name(tmp_path: Path):
    ledger = await open_ledger(StateDir.open(tmp_path).ledger_url)
    await ledger.register_replica(Replica("gw-1", "hash", 1790000000000))
    where = ("--config", str(RECIPE), "--state-dir", str(tmp_path))
    program = [sys.executable, "-c", "from gateway.cli import main; main()", "replica"]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*program, *words, *where], capture_output=True, text=True, check=False)

    assert json.loads(run("list", "--json").stdout) == [{"name": "gw-1", "registered_at": 1790000000000}]
    assert "gw-1  2026-09-21 14:13:20Z" in run("list").stdout
    refused = run("forget", "gw-1")
    known = "it is registered since 2026-09-21 14:13:20Z; --force forgets it all the same"
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"so nobody knows whether gw-1 is alive; {known}" in refused.stderr
    assert run("forget", "gw-1", "--force").stdout == "forgot gw-1 (r3)\n"
    again = run("forget", "gw-1", "--force")
    assert (again.returncode, again.stderr) == (1, "Error: there is no replica gw-1; see portcullis replica list\n")
    assert run("list").stdout == "no replicas\n"
    await ledger.close()


def event(number: int) -> AuditEvent:
    return AuditEvent(id="0190", time=1790000000000, type=f"T{number}", outcome="failure", reason="re\x1b[2Jason")


async def test_the_tail_is_the_newest_events_and_following_goes_on_with_what_comes(tmp_path: Path):
    ledger = await open_ledger(StateDir.open(tmp_path).ledger_url)
    await ledger.append_audit([event(number) for number in range(700)])
    program = [sys.executable, "-u", "-c", "from gateway.cli import main; main()", "audit", "tail"]
    command = [*program, "--config", str(RECIPE), "--state-dir", str(tmp_path), "-n", "600", "--json", "--follow"]
    with started(command) as tail:
        assert tail.stdout
        assert [json.loads(tail.stdout.readline())["type"] for _ in range(600)] == [f"T{n}" for n in range(100, 700)]
        await ledger.append_audit([event(700)])
        assert json.loads(tail.stdout.readline())["seq"] == 701
        tail.terminate()
    await ledger.close()


def started(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_an_empty_trail_has_an_empty_tail(tmp_path: Path):
    done = portcullis("audit", "tail", "--config", str(RECIPE), "--state-dir", str(tmp_path))
    assert (done.exit_code, done.output) == (0, "")


def test_what_strangers_wrote_cannot_command_the_terminal():
    """A62."""
    assert plain("a\x1b[2Jb\nc\u2028d\x07 é ü") == "a\\x1b[2Jb\\nc\\u2028d\\x07 é ü"


def test_a_folder_of_rules_that_is_not_there_starts_nothing(tmp_path: Path):
    path = written(tmp_path, "opa: {custom_policies: rules}\n")
    done = portcullis("up", "--config", str(path), "--state-dir", str(tmp_path / "state"))
    why = f"opa.custom_policies: {tmp_path / 'rules'} is not a folder; make it, or remove the key"
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (1, f"Error: {path}: {why}")


@pytest.mark.parametrize("words", [["keys"], ["key", "create"], ["check", "--nonsense"]])
def test_a_command_used_wrongly_ends_with_status_2(words: list[str]):
    assert portcullis(*words).exit_code == 2


def test_every_command_explains_itself():
    def walk(command: object, words: list[str]) -> list[list[str]]:
        children = getattr(command, "commands", {})
        return [words, *(one for name, child in children.items() for one in walk(child, [*words, name]))]

    for words in walk(main, []):
        done = portcullis(*words, "--help")
        assert (done.exit_code, done.stdout.startswith("Usage:")) == (0, True), words
        assert "..." not in done.stdout.partition("Commands:")[2], "a summary in a list of commands is cut off"
