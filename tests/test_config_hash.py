"""The configuration's hash is of its meaning, the schema accepts what the loader accepts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from gateway.cli import main
from tests.support.files import RECIPE, loaded

if TYPE_CHECKING:
    from pathlib import Path

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


def schema() -> dict[str, object]:
    return json.loads(CliRunner().invoke(main, ["config", "schema"]).stdout)


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
