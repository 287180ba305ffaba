"""`portcullis tool`: straight in the ledger, with a word about what a withdrawal or its lifting does not do."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from gateway.facts import ServerInventory
from gateway.ledger.connect import open_ledger
from gateway.state import StateDir
from tests.support.files import RECIPE

if TYPE_CHECKING:
    from pathlib import Path

TOOLS = ("beta_tool", "charge", "legacy_charge", "refund")
UNHEARD = "warning: no gateway has run on this ledger yet"


@pytest.fixture
async def state(tmp_path: Path) -> Path:
    """Return the state directory of a gateway that has run on the recipe."""
    ledger = await open_ledger(StateDir.open(tmp_path).ledger_url)
    await ledger.note_config("hash")
    await ledger.put_inventory(ServerInventory("payments", "digest", TOOLS, 0))
    await ledger.close()
    return tmp_path


async def portcullis(state: Path, *words: str) -> Result:
    """Run the command where no loop runs, as a shell does."""
    where = ("--config", str(RECIPE), "--state-dir", str(state))
    return await asyncio.to_thread(CliRunner().invoke, main, ["tool", *words, *where])


async def test_a_withdrawal_and_its_lifting_say_what_was_done_and_nothing_else(state: Path):
    done = await portcullis(state, "withdraw", "payments", "refund", "--tenant", "tenant:b")
    assert (done.exit_code, done.output) == (0, "payments/refund is withdrawn for tenant:b as r4\n")
    done = await portcullis(state, "restore", "payments", "refund")
    assert (done.exit_code, done.output) == (0, "payments/refund is restored for everybody as r5\n")


async def test_the_trail_says_for_which_tenant_a_tool_was_withdrawn(state: Path):
    await portcullis(state, "withdraw", "payments", "refund", "--tenant", "tenant:b")
    where = ("--config", str(RECIPE), "--state-dir", str(state))
    done = await asyncio.to_thread(CliRunner().invoke, main, ["audit", "tail", "-n", "1", *where])
    assert done.stdout.endswith("  payments/refund for tenant:b\n")


@pytest.mark.parametrize(
    ("kind", "name", "id_"),
    [
        ("prompt", "greet me", "payments#prompts/greet me"),
        ("resource", "file:///a", "payments#resources/file:///a"),
        ("resource", "file:///{name}", "payments#resources/file:///{name}"),
    ],
)
async def test_prompts_and_resources_are_withdrawn_by_their_kind(state: Path, kind: str, name: str, id_: str):
    done = await portcullis(state, "withdraw", "payments", name, "--kind", kind)
    assert (done.exit_code, done.stdout) == (0, f"{id_} is withdrawn for everybody as r4\n")
    assert (
        done.stderr == f"warning: payments has no {kind} {name!r} now, so nothing is taken from anybody; it has none\n"
    )
    (listed,) = json.loads((await portcullis(state, "list", "--json")).stdout)
    assert (listed["mcp_server"], listed[kind], listed["tenant_id"]) == ("payments", name, None)
    assert (await portcullis(state, "restore", "payments", name, "--kind", kind)).exit_code == 0
    assert json.loads((await portcullis(state, "list", "--json")).stdout) == []


@pytest.mark.parametrize(("kind", "name"), [("tool", "greet me"), ("prompt", " x"), ("resource", "a b")])
async def test_what_nothing_of_its_kind_can_be_called_is_not_withdrawn(state: Path, kind: str, name: str):
    done = await portcullis(state, "withdraw", "payments", name, "--kind", kind)
    assert (done.exit_code, f"{name!r} of 'payments' is not a {kind}'s name" in done.stderr) == (1, True)


async def test_a_withdrawal_of_a_tool_that_the_server_does_not_have_names_those_that_it_has(state: Path):
    done = await portcullis(state, "withdraw", "payments", "refnud", "--json")
    assert json.loads(done.stdout)["withdrawn"] is True
    assert done.stderr.startswith("warning: payments has no tool 'refnud' now")
    assert done.stderr.endswith("it has beta_tool, charge, legacy_charge, refund\n")


@pytest.mark.parametrize(
    ("words", "who"),
    [
        (("legacy_charge",), "everybody"),
        (("legacy_charge", "--tenant", "tenant:b"), "everybody"),
        (("beta_tool",), "tenant:a"),
        (("beta_tool", "--tenant", "tenant:a"), "tenant:a"),
    ],
)
async def test_what_the_configuration_withdraws_is_not_said_to_be_back(state: Path, words: tuple[str, ...], who: str):
    done = await portcullis(state, "restore", "payments", *words)
    assert done.exit_code == 0
    assert done.stderr == f"warning: {RECIPE} withdraws it from {who} all the same; see tool_projection there\n"


async def test_what_the_configuration_withdraws_from_another_tenant_is_not_mentioned(state: Path):
    assert (await portcullis(state, "restore", "payments", "beta_tool", "--tenant", "tenant:b")).stderr == ""


async def test_a_tenant_that_gets_back_what_is_withdrawn_from_everybody_does_not_get_it(state: Path):
    await portcullis(state, "withdraw", "payments", "refund")
    done = await portcullis(state, "restore", "payments", "refund", "--tenant", "tenant:b")
    assert done.stderr.startswith("warning: it is still withdrawn from everybody at runtime")


@pytest.mark.parametrize("word", ["withdraw", "restore"])
async def test_on_a_ledger_that_no_gateway_has_used_there_is_a_word_about_the_state_directory(
    tmp_path: Path, word: str
):
    done = await portcullis(tmp_path, word, "payments", "charge")
    assert (done.exit_code, done.stderr.startswith(UNHEARD)) == (0, True)
