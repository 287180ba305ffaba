"""`portcullis tenant`, and what check, doctor and every other command make of tenants and catalogs."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from bundles.configurations import Configurations
from gateway import keys
from gateway.cli import FAMILIES, main
from gateway.config import Source
from tests.support.backend import FakeBackend
from tests.support.files import ROOT
from tests.support.teams import CONFIG, TENANTS, A, Teams, key_hash

if TYPE_CHECKING:
    from pathlib import Path

BROKEN = "servers:\n  serach: {}\n"
SAID = "catalogs/team-b.yaml:2: servers.serach: there is no server serach in mcp_servers of the configuration; did you"


def portcullis(folder: Path, *words: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, [*words, "--config", str(folder / "config.yaml")], input=stdin)


def told(folder: Path, *words: str) -> Any:
    done = portcullis(folder, *words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_tenants_are_listed_with_their_state_for_people_and_for_programs(tmp_path: Path):
    config = CONFIG.replace('localhost/search"}', 'localhost/search", tool_access: {member: {team-c: {}}}}')
    tenants = TENANTS + "  - {id: team-d, active: false}\n"
    Teams(tmp_path, config=config, tenants=tenants, b=BROKEN)
    rows = {row.pop("id"): row for row in told(tmp_path, "tenant", "list")}
    assert {id_: (row["state"], row["servers"], row["own_servers"], row["keys"]) for id_, row in rows.items()} == {
        "team-a": ("active", 1, 1, 2),
        "team-b": ("suspended: mistakes", 0, 0, 1),
        "team-c": ("active", 1, 0, 0),
        "team-d": ("suspended", 0, 0, 0),
    }
    lines = portcullis(tmp_path, "tenant", "list").stdout.splitlines()
    assert lines[0].split() == ["tenant", "name", "namespace", "state", "servers", "own", "keys"]
    assert lines[1].split() == ["team-a", "Team", "Alpha", "mcp-team-a", "active", "1", "1", "2"]


def test_one_tenant_is_shown_with_all_that_narrows_it_and_all_that_is_wrong_with_it(tmp_path: Path):
    config = CONFIG.replace(
        'localhost/payments"}', 'localhost/payments", tool_access: {member: {"*": {deny_list: [x]}}}}'
    )
    Teams(tmp_path, config=config, b=BROKEN)
    a, b = told(tmp_path, "tenant", "show", "team-a"), told(tmp_path, "tenant", "show", "team-b")
    both = [{"tool": {"allow_list": [], "deny_list": [one]}} for one in ("x", "refund")]
    assert (a["servers"], list(a["own_servers"]), a["mistakes"]) == ({"payments": both}, ["reports"], [])
    assert a["quotas"] == {"max_servers": 5, "max_concurrent_requests": 100, "requests_per_minute": 6000}
    assert a["keys"][0] == {"name": "production", "key_hash": key_hash("a-production")}
    assert SAID in b["mistakes"][0]
    shown = portcullis(tmp_path, "tenant", "show", "team-a").stdout
    assert "denies tools x; denies tools refund" in shown
    assert "reports   own     https://reports.example.com/mcp" in shown
    assert f"mistake: {tmp_path}/{SAID}" in portcullis(tmp_path, "tenant", "show", "team-b").stdout


def test_a_tenant_that_nobody_knows_is_an_error(tmp_path: Path):
    Teams(tmp_path)
    done = portcullis(tmp_path, "tenant", "show", "team-z")
    assert (done.exit_code, done.stderr) == (1, "Error: there is no tenant team-z; see portcullis tenant list\n")


def test_a_key_is_hashed_from_stdin_as_tenants_yaml_wants_it():
    secret = keys.mint()
    done = CliRunner().invoke(main, ["tenant", "hash-key"], input=f"{secret}\n")
    assert (done.exit_code, done.stdout) == (0, f"sha256:{keys.sha256(secret)}\n")


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        ("\n", 2, "pass the key on stdin"),
        ("hunter2\n", 1, "a key of 7 characters can be guessed from its hash; use --generate"),
        (f"mcp_{'x' * 49}\n", 1, "its checksum is wrong"),
    ],
)
def test_what_makes_a_poor_key_is_not_hashed(text: str, status: int, words: str):
    done = CliRunner().invoke(main, ["tenant", "hash-key"], input=text)
    assert (done.exit_code, done.stdout) == (status, "")
    assert words in done.stderr


def test_a_key_can_be_made_together_with_its_hash():
    done = CliRunner().invoke(main, ["tenant", "hash-key", "--generate"])
    made = dict(line.split() for line in done.stdout.splitlines())
    assert keys.looks_like_key(made["key:"])
    assert made["key_hash:"] == f"sha256:{keys.sha256(made['key:'])}"


def test_check_fails_on_a_catalog_and_says_that_its_tenant_alone_is_suspended(tmp_path: Path):
    Teams(tmp_path, b=BROKEN)
    done = portcullis(tmp_path, "check")
    assert done.exit_code == 1
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert (SAID in line, line.endswith("(tenant team-b is suspended)")) == (True, True)


async def test_check_says_which_entries_of_catalogs_match_nothing_once_for_all_that_have_them(tmp_path: Path):
    backend = FakeBackend()
    async with backend.serve() as server:
        config = CONFIG.replace("http://localhost/payments", server.url)
        Teams(tmp_path, config=config, a=A.replace("refund", "refnd"), b=A.replace("refund", "refnd, charge"))
        done = await asyncio.to_thread(portcullis, tmp_path, "check")
    words = "catalog of team-a, team-b: servers.payments.tools.deny_list: refnd matches no tool that payments has now"
    assert [words in line for line in done.stdout.splitlines()].count(True) == 1


def test_doctor_names_the_tenants_that_a_start_would_suspend(tmp_path: Path):
    Teams(tmp_path, b=BROKEN)
    findings = json.loads(portcullis(tmp_path, "doctor", "--json", "--state-dir", str(tmp_path / "state")).stdout)
    (found,) = (one for one in findings["findings"] if one["part"] == "tenants")
    assert (found["level"], found["text"].startswith("team-b: ")) == ("error", True)
    assert found["text"].endswith("a start would suspend the tenant")


def test_every_command_that_takes_a_configuration_takes_tenants_too():
    for name in FAMILIES:
        for words in _commands(main.get_command(None, name), [name]):
            options = CliRunner().invoke(main, [*words, "--help"]).stdout
            assert ("--config " in options) == ("--tenants " in options), words


def _commands(command: object, words: list[str]) -> list[list[str]]:
    children = getattr(command, "commands", None)
    if children is None:
        return [words]
    return [found for name, child in children.items() for found in _commands(child, [*words, name])]


def test_tenants_on_the_command_line_win(tmp_path: Path):
    teams = Teams(tmp_path)
    other = teams.write("tenants: [{id: team-x}]", "other.yaml")
    found = json.loads(portcullis(tmp_path, "tenant", "list", "--json", "--tenants", str(other)).stdout)
    assert [row["id"] for row in found] == ["team-x"]


async def test_sync_reads_the_same_tenants_and_tells_what_is_wrong_with_them(tmp_path: Path):
    teams = Teams(tmp_path)

    source = Source(tmp_path / "config.yaml")
    first = teams.load().hash
    sync = Configurations(source, tmp_path / "copy.json")
    assert (follow(sync, first), list(sync.problems())) == (first, [])
    await sync.catch_up()
    teams.write(BROKEN, "catalogs/team-b.yaml")
    await sync.reread()
    (problem,) = sync.problems()
    assert problem.startswith("tenant team-b keeps its last good catalog: ")
    assert follow(sync, teams.reload().hash) == first
    again = Configurations(source, tmp_path / "copy.json")
    assert follow(again, first) == first
    assert follow(again, teams.load().hash) == teams.load().hash != first
    teams.write("servers: {payments: {}}", "catalogs/team-b.yaml")
    await sync.reread()
    assert (follow(sync, teams.load().hash), list(sync.problems())) == (teams.load().hash, [])


def follow(sync: Configurations, recorded: str) -> str | None:
    """Have sync follow what the ledger records, and return what it publishes."""
    sync.follow(recorded)
    return sync.in_force.hash if sync.in_force else None


async def test_the_copy_of_what_is_in_force_has_the_last_good_catalog_and_no_secret(tmp_path: Path):
    tenants = TENANTS.replace("    namespace: mcp-team-a\n", "    secrets_dir: secrets\n    allow_stdio: true\n")
    own = "  tool: {mode: stdio, command: [tool], env: {API_KEY: '${file:key}', TENANT: '${tenant}'}}\n"
    teams = Teams(tmp_path, tenants=tenants, a=A + own)
    teams.write("s3cret", "secrets/key")
    first = teams.load().hash
    sync = Configurations(Source(tmp_path / "config.yaml"), tmp_path / "copy.json")
    follow(sync, first)
    for text in (A + own + "  more: [", ""):
        teams.write(text, "catalogs/team-a.yaml")
        await sync.reread()
        changed = teams.write(TENANTS_WITH.format(tenants, len(text)), "tenants.yaml")
        await sync.reread()
        recorded = teams.reload().hash
        follow(sync, recorded)
        await sync.catch_up()
        assert b"s3cret" not in b"".join(base64.b64decode(one) for one in copied(tmp_path).values())
        assert str(changed) in copied(tmp_path)
        assert follow(Configurations(Source(tmp_path / "config.yaml"), tmp_path / "copy.json"), recorded) == recorded


TENANTS_WITH = "{}  - {{id: team-{}}}\n"


def copied(folder: Path) -> dict[str, str]:
    return json.loads((folder / "copy.json").read_text())["documents"]


def test_the_example_of_two_teams_is_in_order():
    folder = ROOT / "examples" / "teams"
    done = portcullis(folder, "check")
    assert done.exit_code == 0, done.output
    assert {
        row["id"]: (row["state"], row["servers"], row["own_servers"]) for row in told(folder, "tenant", "list")
    } == {
        "team-a": ("active", 2, 0),
        "team-b": ("active", 1, 1),
    }
