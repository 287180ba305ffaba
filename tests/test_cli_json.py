"""Whatever a command with `--json` has to say, programs read one JSON object on stdout, failures included."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner

from gateway.cli import main
from tests.support.files import written

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What a parameter is given where "x" would not do; what is not required is left out.
VALUES = {"principal": "user:jo"}


def commands(group: click.Group = main, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command of the command line with the words that name it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command


SPEAKING = {words: one for words, one in commands() if any("--json" in each.opts for each in one.params)}
named = pytest.mark.parametrize("words", SPEAKING, ids=" ".join)


def required(command: click.Command) -> list[str]:
    """Return what the command cannot do without."""
    words = []
    for one in command.params:
        if one.required and one.name is not None:
            value = VALUES.get(one.name, "x")
            words += [one.opts[0], value] if isinstance(one, click.Option) else [value]
    return words


def run(*words: str, **environ: str) -> tuple[int, Any]:
    """Run a command and return its status and the one object on its stdout."""
    done = CliRunner(env=environ).invoke(main, list(words))
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.stdout.count("\n") == 1, done.output
    return done.exit_code, json.loads(done.stdout)


def test_there_are_commands_that_speak_json() -> None:
    assert {("check",), ("doctor",), ("explain",), ("key", "create"), ("opa", "install")} <= SPEAKING.keys()


@named
def test_a_command_that_is_used_wrongly_says_so_with_status_2(words: tuple[str, ...]) -> None:
    status, said = run(*words, "--json", "--nonsense")
    assert status == 2
    assert said["error"]["code"] == "usage_error"
    assert "--nonsense" in said["error"]["message"]


@named
def test_every_mistake_of_the_files_is_told_apart_with_status_1(words: tuple[str, ...], tmp_path: Path) -> None:
    if words in {("opa", "install"), ("role", "whoami")}:
        return  # They read no configuration.
    path = written(tmp_path, "auth: {enabeld: true}\nservre: {}\n")
    more = ["--draft-config", str(path)] if words == ("policy", "replay") else []
    where = ["--config", str(path), "--json", *more, *required(SPEAKING[words])]
    status, said = run(*words, *where, PORTCULLIS_STATE_DIR=str(tmp_path / "state"))
    mistakes = said["error"]["mistakes"] if "error" in said else said.get("found", said.get("findings"))
    assert status == 1
    assert [(one["file"], one["path"], one["line"], one["message"]) for one in mistakes] == [
        (str(path), "auth.enabeld", 1, "unknown key; did you mean enabled?"),
        (str(path), "servre", 2, "unknown key; did you mean server?"),
    ]


def test_what_is_not_there_and_what_cannot_be_had_are_told_by_their_kind(tmp_path: Path) -> None:
    config = written(tmp_path, "{}")
    where = ("--config", str(config), "--state-dir", str(tmp_path / "state"), "--json")
    assert run("key", "revoke", "nobody", *where)[1]["error"] == {
        "code": "not_found",
        "message": "no key nobody; see `portcullis key list`",
        "mistakes": [],
    }
    assert run("explain", *where)[1]["error"]["code"] == "engine_missing"


def test_people_are_told_in_words_on_stderr(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["key", "list", "--config", str(tmp_path / "none.yaml")])
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ")
