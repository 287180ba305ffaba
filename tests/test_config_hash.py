"""The configuration's hash is of its meaning, the schema accepts what the loader accepts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from gateway.cli import main
from tests.support.files import RECIPE, loaded
from tests.support.teams import TENANTS, A, B, Teams, key_hash

if TYPE_CHECKING:
    from pathlib import Path

A_ROW, B_ROW = (f"  - id: team-{part}" for part in TENANTS.split("  - id: team-")[1:])
A_AGAIN = """\
mcp_servers: {reports: {endpoint: "https://reports.example.com/mcp", mode: remote, timeout_seconds: 30.0}}
servers: {payments: {access: {}, tools: {deny_list: [refund, refund], allow_list: []}}}
"""
BASE = """
tool_access: {mode: front_door}
auth: {enabled: true}
tenants: [{id: a}, {id: b}]
mcp_servers:
  p:
    mode: remote
    endpoint: http://localhost/mcp
    headers: {X-Team: "${env:TEAM}"}
    tools: {deny_list: [x, y]}
    tool_access: {member: {a: {allow_list: [c, r]}, b: {}}}
"""

SAME = {
    "comments and blank lines": BASE.replace("auth:", "# why\n\nauth:"),
    "flow and block": BASE.replace(
        "tools: {deny_list: [x, y]}", "tools:\n      deny_list:\n        - x\n        - 'y'"
    ),
    "order of keys": BASE.replace("a: {allow_list: [c, r]}, b: {}", "b: {}, a: {allow_list: [c, r]}"),
    "order of lists": BASE.replace("[x, y]", "[y, x]").replace("[{id: a}, {id: b}]", "[{id: b}, {id: a}]"),
    "repetition": BASE.replace("[x, y]", "[x, y, x]"),
    "defaults written out": BASE.replace("{enabled: true}", "{enabled: true, allow_anonymous: false, oidc: {}}"),
    "what is this machine's own": BASE + "server: {port: 9}\nstorage: {url: 'sqlite:///x.db'}\nopa: {replica: g2}\n",
}

OTHER = {
    "a list": BASE.replace("[x, y]", "[x]"),
    "a member": BASE.replace(", b: {}}", "}"),
    "an empty list is no list": BASE.replace("b: {}}", "b: {allow_list: [z]}}"),
    "an endpoint": BASE.replace("localhost/mcp", "localhost/mcp2"),
    "a secret's source": BASE.replace("env:TEAM", "env:OTHER"),
    "a tenant suspended": BASE.replace("{id: b}", "{id: b, active: false}"),
    "a withdrawal": BASE + "tool_projection: {withdrawn: [p/c]}\n",
    "a setting of policy": BASE + "opa: {on_stale: deny}\n",
    "a limit of the listener": BASE + "server: {max_body_bytes: 2048}\n",
}


TENANT_CHANGES = {
    "a namespace": ("tenants.yaml", "namespace: mcp-team-a", "namespace: mcp-team-x"),
    "a key": ("tenants.yaml", key_hash("b"), key_hash("c")),
    "a quota": ("tenants.yaml", "max_servers: 10", "max_servers: 11"),
    "a tenant suspended": ("tenants.yaml", "    display_name: Team Beta\n", "    active: false\n"),
    "a tenant gone": ("tenants.yaml", B_ROW, ""),
    "an offer": ("catalogs/team-b.yaml", "  search: {}", "  payments: {}"),
    "a list of an offer": ("catalogs/team-a.yaml", "[refund]", "[refund, charge]"),
    "an own server": ("catalogs/team-a.yaml", "reports.example.com", "reports.example.org"),
    "what the operator allows": ("tenants.yaml", "namespace: mcp-team-a", "allow_stdio: true"),
}
TENANT_SAME = {
    "order of tenants": ("tenants.yaml", TENANTS, f"tenants:\n{B_ROW}{A_ROW}"),
    "comments and defaults": (
        "tenants.yaml",
        "    namespace: mcp-team-b",
        "    active: true # why\n    namespace: mcp-team-b",
    ),
    "flow and block, and order in a catalog": ("catalogs/team-a.yaml", A, A_AGAIN),
}


def hash_of(folder: Path, text: str, team: str = "blue") -> str:
    return loaded(folder, text, TEAM=team, OTHER=team).hash


@pytest.mark.parametrize("name", SAME)
def test_the_hash_does_not_change_with_what_means_the_same(tmp_path: Path, name: str):
    assert hash_of(tmp_path, SAME[name]) == hash_of(tmp_path, BASE)


@pytest.mark.parametrize("name", OTHER)
def test_the_hash_changes_with_the_meaning(tmp_path: Path, name: str):
    assert hash_of(tmp_path, OTHER[name]) != hash_of(tmp_path, BASE)


def test_the_hash_is_the_same_in_another_folder_and_for_another_secret(tmp_path: Path):
    """Two machines over the same file agree, and nobody can guess a secret from a hash."""
    other = tmp_path / "elsewhere"
    other.mkdir()
    assert hash_of(other, BASE, team="red") == hash_of(tmp_path, BASE)


def test_all_hashes_of_different_meanings_differ(tmp_path: Path):
    assert len({hash_of(tmp_path, text) for text in OTHER.values()}) == len(OTHER)


@pytest.mark.parametrize("name", TENANT_CHANGES)
def test_the_hash_changes_with_what_is_said_of_any_tenant_on_a_start_as_on_a_reload(tmp_path: Path, name: str):
    file, old, new = TENANT_CHANGES[name]
    teams = Teams(tmp_path)
    before = teams.load().hash
    text = (tmp_path / file).read_text()
    assert old in text
    teams.write(text.replace(old, new), file)
    assert teams.reload().hash == teams.load().hash != before


@pytest.mark.parametrize("name", TENANT_SAME)
def test_the_hash_does_not_change_with_how_tenants_are_written(tmp_path: Path, name: str):
    file, old, new = TENANT_SAME[name]
    teams = Teams(tmp_path)
    before = teams.load().hash
    teams.write((tmp_path / file).read_text().replace(old, new), file)
    assert teams.reload().hash == teams.load().hash == before


def test_tenants_hash_alike_in_another_folder_under_other_names_and_in_another_process(tmp_path: Path):
    here = Teams(tmp_path / "here").load().hash
    there = Teams(tmp_path / "there", tenants=TENANTS.replace("catalogs/team-b", "elsewhere/b"))
    there.write(B, "elsewhere/b.yaml")
    assert there.load().hash == here
    program = "import sys, pathlib; from gateway.config import load; print(load(pathlib.Path(sys.argv[1])).hash)"
    command = [sys.executable, "-c", program, str(tmp_path / "here" / "config.yaml")]
    other = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": "7"}
    )
    assert other.stdout.strip() == here


def test_the_order_of_a_command_s_words_is_part_of_its_meaning(tmp_path: Path):
    text = "mcp_servers: {{p: {{mode: stdio, command: {}}}}}"
    assert hash_of(tmp_path, text.format("[a, b]")) != hash_of(tmp_path, text.format("[b, a]"))


def test_a_suspended_tenant_and_a_kept_catalog_hash_as_what_is_in_force(tmp_path: Path):
    teams = Teams(tmp_path)
    good = teams.load().hash
    teams.write("a: [", "catalogs/team-a.yaml")
    assert teams.reload().hash == good
    assert teams.load().hash != good


def schema(file: str = "config") -> dict[str, object]:
    return json.loads(CliRunner().invoke(main, ["config", "schema", file]).stdout)


def test_the_schemas_of_tenants_and_catalogs_accept_what_loads(tmp_path: Path):
    for file, texts in {"tenants": (TENANTS, "tenants: []"), "catalog": (A, A_AGAIN, B, "{}")}.items():
        validator = jsonschema.Draft202012Validator(schema(file))
        validator.check_schema(schema(file))
        for text in texts:
            validator.validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("tenants", "{}"),
        ("tenants", "tenants: [{display_name: x}]"),
        ("tenants", "tenants: [{id: a, catalog: {}}]"),
        ("tenants", "tenants: [{id: a, quotas: {max_servers: 0}}]"),
        ("tenants", "tenants: [{id: a, namespace: }]"),
        ("catalog", "tenants: []"),
        ("catalog", "servers: {payments: {headers: {}}}"),
        ("catalog", "mcp_servers: {a: {mode: remote, endpoint: 'https://x', tool_access: {}}}"),
        ("catalog", "mcp_servers: {a: {mode: remote}}"),
        ("catalog", "mcp_servers: {a: {mode: stdio, endpoint: 'https://x'}}"),
    ],
)
def test_the_schemas_of_tenants_and_catalogs_refuse_what_the_loader_refuses(file: str, text: str):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema(file)).validate(yaml.safe_load(text))


def test_the_json_schema_accepts_the_recipe_and_every_example_that_loads():
    validator = jsonschema.Draft202012Validator(schema())
    validator.check_schema(schema())
    for text in (RECIPE.read_text(), *SAME.values(), *OTHER.values(), "auth: {default_role: none}"):
        validator.validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    "text",
    [
        "auth: {enabledd: true}",
        "auth: {enabled: 'true'}",
        "server: {tls: }",
        "tool_access: {mode: frontdoor}",
        "server: {port: 70000}",
        "mcp_servers: {p: {mode: remote}}",
        "auth: {oidc: {algorithms: [HS256]}}",
        "mcp_servers: {p: {mode: remote, endpoint: 'http://x', headers: {X-A: 5}}}",
    ],
)
def test_the_json_schema_refuses_what_the_loader_refuses(text: str):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema()).validate(yaml.safe_load(text))
