"""`portcullis key`: on the ledger, whether or not a gateway runs; the secret is shown once."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from gateway import keys
from gateway.cli import main
from gateway.ledger.connect import open_ledger
from gateway.state import StateDir
from tests.support.files import RECIPE, written

if TYPE_CHECKING:
    from pathlib import Path

DAY_MS = 86_400_000


def portcullis(state: Path, *words: str, stdin: str | None = None) -> Result:
    where = () if words[:2] == ("key", "hash") else ("--config", str(RECIPE), "--state-dir", str(state))
    return CliRunner().invoke(main, [*words[:2], *where, *words[2:]], input=stdin)


def create(state: Path, *words: str) -> dict[str, Any]:
    done = portcullis(state, "key", "create", "--principal", "user:root", "--json", *words)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def listed(state: Path) -> list[dict[str, Any]]:
    return json.loads(portcullis(state, "key", "list", "--json").stdout)


def test_a_key_is_printed_alone_on_stdout_so_that_it_can_be_caught_in_a_variable(tmp_path: Path):
    done = portcullis(tmp_path, "key", "create", "--principal", "user:root", "--role", "admin")
    assert done.exit_code == 0
    assert keys.looks_like_key(done.stdout.rstrip("\n"))
    assert "user:root, admin everywhere" in done.stderr
    assert "not shown again" in done.stderr


def test_of_a_key_the_ledger_has_the_hash_and_no_list_shows_more_than_its_beginning(tmp_path: Path):
    made = create(tmp_path, "--role", "admin", "--tenant", "tenant:a", "--name", "ci")
    (found,) = listed(tmp_path)
    assert found == {name: value for name, value in made.items() if name not in ("key", "revision")}
    assert (found["role"], found["tenant_id"], found["name"]) == ("admin", "tenant:a", "ci")
    assert made["key"].startswith(found["prefix"])
    table = portcullis(tmp_path, "key", "list").stdout
    assert made["id"] in table
    for text in (table, json.dumps(found)):
        assert made["key"] not in text
        assert keys.sha256(made["key"]) not in text
    on_disk = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert made["key"].encode() not in on_disk
    assert keys.sha256(made["key"]).encode() in on_disk


def test_a53_there_is_no_key_until_somebody_makes_one_and_two_at_once_each_get_their_own(tmp_path: Path):
    assert listed(tmp_path) == []
    where = ("--config", str(RECIPE), "--state-dir", str(tmp_path), "--principal", "user:root", "--role", "admin")
    command = [sys.executable, "-m", "gateway", "key", "create", *where, "--json"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(2)]
    made = [json.loads(one.communicate()[0]) for one in both]
    assert {one["id"] for one in made} == {one["id"] for one in listed(tmp_path)}
    assert made[0]["key"] != made[1]["key"]


def test_a_key_lives_90_days_unless_another_number_is_asked_for(tmp_path: Path):
    usual, short = create(tmp_path), create(tmp_path, "--expires-in-days", "1")
    assert usual["expires_at"] - usual["created_at"] == 90 * DAY_MS
    assert short["expires_at"] - short["created_at"] == DAY_MS


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--expires-in-days", "0"], "0 means never, which needs auth.api_key.allow_non_expiring"),
        (["--expires-in-days", "-1"], "must be at least 0"),
        (["--role", "root"], "role: is none of the roles: admin, auditor"),
        (["--principal", "jo"], "must be user:<name> or service:<name>"),
        (["--principal", "group:admins"], "must be user:<name> or service:<name>"),
        (["--principal", "user: jo"], "without blanks"),
        (["--tenant", "a b"], "must be a tenant id"),
        (["--tenant", ""], "must be a tenant id"),
    ],
)
def test_a_key_that_makes_no_sense_is_a_usage_error_and_nothing_is_stored(tmp_path: Path, words: list[str], said: str):
    done = portcullis(tmp_path, "key", "create", "--principal", "user:root", *words)
    assert (done.exit_code, said in done.stderr) == (2, True), done.stderr
    assert listed(tmp_path) == []


def test_a_key_for_a_tenant_that_nothing_knows_is_made_with_a_warning(tmp_path: Path):
    done = portcullis(tmp_path, "key", "create", "--principal", "user:root", "--tenant", "tenant:z")
    assert "warning: no member entry knows the tenant tenant:z" in done.stderr
    assert done.exit_code == 0


def test_revoking_is_once_and_the_key_stays_in_the_list(tmp_path: Path):
    made = create(tmp_path)
    done = portcullis(tmp_path, "key", "revoke", made["id"], "--json")
    assert json.loads(done.stdout) == {"revoked": True, "id": made["id"], "revision": "r3"}
    (found,) = listed(tmp_path)
    assert found["revoked_at"]
    assert "revoked" in portcullis(tmp_path, "key", "list").stdout
    again = portcullis(tmp_path, "key", "revoke", made["id"])
    assert (again.exit_code, again.stdout) == (1, "")
    assert f"Error: no live key {made['id']}: it is revoked or expired already" in again.stderr


def test_every_key_made_and_revoked_is_in_the_audit_trail_with_who_did_it(tmp_path: Path):
    made = create(tmp_path, "--role", "viewer")
    portcullis(tmp_path, "key", "revoke", made["id"])
    lines = portcullis(tmp_path, "audit", "tail", "--json").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert [(one["type"], one["target"]["id"]) for one in events] == [
        ("KeyCreated", made["id"]),
        ("KeyRevoked", made["id"]),
    ]
    assert all(one["actor"]["principal"].startswith("local:") for one in events)
    assert made["key"] not in "".join(lines)


def test_a_hash_is_made_of_what_stands_on_stdin_and_a_mistyped_key_is_noticed(tmp_path: Path):
    key = keys.mint()
    assert portcullis(tmp_path, "key", "hash", stdin=key + "\n").stdout == f"sha256:{keys.sha256(key)}\n"
    cut = portcullis(tmp_path, "key", "hash", stdin=key[:-1] + "\n")
    assert (cut.exit_code, "mistyped or cut" in cut.stderr) == (1, True)
    assert portcullis(tmp_path, "key", "hash", stdin="").exit_code == 2


def test_a_bad_configuration_ends_with_status_1_and_every_mistake(tmp_path: Path):
    bad = written(tmp_path, "auth: {enabeld: true}\nservre: {}\n")
    done = CliRunner().invoke(main, ["key", "list", "--config", str(bad), "--state-dir", str(tmp_path)])
    assert done.exit_code == 1
    assert "did you mean enabled?" in done.stderr
    assert "did you mean server?" in done.stderr


def test_storage_url_moves_the_ledger_away_from_the_state_directory(tmp_path: Path):
    config = written(tmp_path, "storage: {url: 'sqlite:///elsewhere.db'}\n")
    state = tmp_path / "state"
    done = CliRunner().invoke(
        main, ["key", "create", "--config", str(config), "--state-dir", str(state), "--principal", "service:ci"]
    )
    assert done.exit_code == 0
    assert (tmp_path / "elsewhere.db").exists()
    assert not state.exists()


def test_without_any_configuration_the_state_directory_is_enough(tmp_path: Path):
    environ = {"HOME": str(tmp_path), "PORTCULLIS_STATE_DIR": str(tmp_path / "state"), "PATH": "/usr/bin:/bin"}
    command = [
        sys.executable,
        "-c",
        "from gateway.cli import main; main()",
        "key",
        "create",
        "--principal",
        "user:root",
    ]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, keys.looks_like_key(done.stdout.strip())) == (0, True), done.stderr
    assert len(listed(tmp_path / "state")) == 1


async def test_a_key_made_beside_an_open_ledger_is_seen_there(tmp_path: Path):
    ledger = await open_ledger(StateDir.open(tmp_path).ledger_url)
    before = await ledger.meta()
    command = [sys.executable, "-c", "from gateway.cli import main; main()", "key", "create", "--config", str(RECIPE)]
    done = subprocess.run(  # noqa: ASYNC221 nothing else runs on this loop
        [*command, "--state-dir", str(tmp_path), "--principal", "user:root"], capture_output=True, text=True, check=True
    )
    assert (await ledger.meta()).revision == before.revision + 1
    assert [one.hash for one in await ledger.credentials()] == [keys.sha256(done.stdout.strip())]
    await ledger.close()


def test_the_only_admin_is_not_revoked_until_there_is_another(tmp_path: Path):
    only = create(tmp_path, "--role", "admin")
    refused = portcullis(tmp_path, "key", "revoke", only["id"])
    assert refused.exit_code == 1
    assert "make another one first" in refused.output
    create(tmp_path, "--role", "admin")
    assert portcullis(tmp_path, "key", "revoke", only["id"]).exit_code == 0


def test_whoever_the_configuration_gives_every_right_is_an_admin_too(tmp_path: Path):
    roles = {"owner": ["*"], "clerk": ["keys:write"]}
    for role, status in (("clerk", 1), ("owner", 0)):
        only = create(tmp_path, "--role", "admin")
        config = tmp_path / f"{role}.yaml"
        assigned = [{"principal": "user:jo", "role": role, "scope": "global"}]
        config.write_text(json.dumps({"auth": {"enabled": True, "roles": roles, "role_assignments": assigned}}))
        where = ("--config", str(config), "--state-dir", str(tmp_path))
        assert CliRunner().invoke(main, ["key", "revoke", only["id"], *where]).exit_code == status
        if status:
            create(tmp_path, "--role", "admin")
            assert CliRunner().invoke(main, ["key", "revoke", only["id"], *where]).exit_code == 0


def test_old_events_are_deleted_on_the_command_line_and_the_newest_stay(tmp_path: Path):
    create(tmp_path)
    assert json.loads(portcullis(tmp_path, "audit", "prune", "--json").stdout) == {"deleted": 0}
    assert portcullis(tmp_path, "audit", "prune", "--days", "1").stdout == "deleted 0 events\n"
    assert len(portcullis(tmp_path, "audit", "tail", "--json").stdout.splitlines()) == 1
