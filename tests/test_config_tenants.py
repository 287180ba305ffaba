"""tenants.yaml: whole or not at all, and every mistake in it at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.config import known_tenants
from gateway.errors import ConfigError
from tests.support.files import loaded, mistakes
from tests.support.teams import TENANTS, Teams, key_hash, offered

if TYPE_CHECKING:
    from pathlib import Path


def test_the_file_of_the_documentation_loads_word_for_word(tmp_path: Path):
    a, b = Teams(tmp_path).load().config.tenants
    assert (a.id, a.display_name, a.namespace, a.active) == ("team-a", "Team Alpha", "mcp-team-a", True)
    assert [(key.name, key.key_hash) for key in a.api_keys] == [
        ("production", key_hash("a-production")),
        ("development", key_hash("a-development")),
    ]
    limits = (a.quotas.max_servers, a.quotas.max_concurrent_requests, a.quotas.requests_per_minute)
    assert limits == (5, 100, 6000)
    assert (b.api_keys[0].name, b.quotas.max_servers, b.quotas.requests_per_minute) == (None, 10, None)


def test_what_a_catalog_offers_and_brings_along_is_there_in_types(tmp_path: Path):
    loaded = Teams(tmp_path).load()
    a, _ = loaded.config.tenants
    assert a.catalog
    assert a.catalog.servers["payments"].tools.deny_list == ("refund",)
    assert a.catalog.own["reports"].endpoint == "https://reports.example.com/mcp"
    assert offered(loaded) == {"team-a": ["payments", "team-a:reports"], "team-b": ["search"]}
    assert (loaded.warnings, loaded.kept_back) == ((), ())


def test_every_file_that_was_read_is_watched(tmp_path: Path):
    names = {str(path.relative_to(tmp_path)) for path in Teams(tmp_path).load().files}
    assert names == {"config.yaml", "tenants.yaml", "catalogs/team-a.yaml", "catalogs/team-b.yaml"}


def test_a_tenant_is_known_by_the_file_or_by_a_member_entry(tmp_path: Path):
    member = "mcp_servers: {p: {mode: remote, endpoint: 'http://x', tool_access: {member: {team-c: {}, '*': {}}}}}"
    teams = Teams(tmp_path, config=f"tenants_file: tenants.yaml\n{member}", a="servers: {}", b="servers: {}")
    loaded = teams.load()
    assert known_tenants(loaded.config) == {"team-a", "team-b", "team-c"}
    assert "tool_access.member: team-c is named by member entries and not among the tenants" in loaded.warnings


def test_tenants_written_in_config_yaml_mean_the_same(tmp_path: Path):
    by_file = Teams(tmp_path).load()
    inline = Teams(tmp_path, config=(tmp_path / "config.yaml").read_text().replace("tenants_file: tenants.yaml\n", ""))
    inline.write((tmp_path / "config.yaml").read_text() + TENANTS, "config.yaml")
    assert inline.load().hash == by_file.hash
    assert inline.load().config.tenants == by_file.config.tenants


def test_tenants_on_the_command_line_win_over_those_that_the_file_names(tmp_path: Path):
    teams = Teams(tmp_path)
    other = teams.write("tenants: [{id: team-c}]", "other/tenants.yaml")
    assert [one.id for one in teams.load(other).config.tenants] == ["team-c"]
    assert [one.id for one in teams.reload().config.tenants] == ["team-c"]


def test_the_command_line_does_not_silently_drop_tenants_that_config_yaml_suspends(tmp_path: Path):
    teams = Teams(tmp_path, config="tenants: [{id: team-a, active: false}]")
    with pytest.raises(ConfigError, match="tenants are in this file too, and --tenants names another"):
        teams.load(tmp_path / "tenants.yaml")


def test_a_list_in_config_yaml_beside_a_file_is_refused(tmp_path: Path):
    found = mistakes(tmp_path, "tenants_file: t.yaml\ntenants: [{id: a}]\n")
    assert ("tenants_file", 1) in [(path, line) for path, line, _ in found]


TWICE = """\
tenants:
  - {{id: a, api_keys: [{{key_hash: '{}'}}]}}
  - {{id: b, api_keys: [{{key_hash: '{}'}}, {{key_hash: 'sha256:{}'}}]}}
""".format(key_hash("a"), key_hash("b"), key_hash("a").removeprefix("sha256:").upper())
ROW = "tenants:\n  - {{id: a, {}}}\n"
KEY = key_hash("a")
WIDE = """\
tenants: [{id: a, quotas: {max_concurrent_requests: 9}}]
mcp_servers:
  p: {mode: remote, endpoint: "http://x", max_concurrent_requests: 5, tool_access: {member: {"*": {}}}}
"""


@pytest.mark.parametrize(
    ("text", "path", "line", "words"),
    [
        ("", "", None, "is empty; see docs/tenants.md"),
        ("[]", "", None, "must be a mapping"),
        ("tenants:\n", "tenants", 1, "is empty; give it a list"),
        ("{}", "tenants", None, "is missing; add tenants: …"),
        ("tenants: []\nzzz: {}\n", "zzz", 2, "unknown key; known here: tenants"),
        ("tenants: [{id: _a}]", "tenants[0].id", 1, "not a tenant id"),
        ("tenants: [{id: 'a b'}]", "tenants[0].id", 1, "not a tenant id"),
        (f"tenants: [{{id: {'a' * 129}}}]", "tenants[0].id", 1, "not a tenant id"),
        ("tenants: [{id: 0123}]", "tenants[0].id", 1, 'put it in quotes: "0123"'),
        ("tenants: [{display_name: x}]", "tenants[0].id", 1, "is missing"),
        ("tenants:\n  - {id: a}\n  - {id: b}\n  - {id: a}\n", "tenants[2].id", 4, "a is defined twice"),
        (ROW.format("catalog: x.yaml"), "tenants[0].catalog", 2, "a file of its own, named by catalog_file"),
        (ROW.format("catalog_fiel: x.yaml"), "tenants[0].catalog_fiel", 2, "did you mean catalog_file?"),
        (ROW.format("catalog_file: "), "tenants[0].catalog_file", 2, "is empty; give it text, or remove the key"),
        (ROW.format("quotas: "), "tenants[0].quotas", 2, "is empty; give it a mapping"),
        (ROW.format("quotas: {max_servers: 0}"), "tenants[0].quotas.max_servers", 2, "greater than or equal to 1"),
        (ROW.format("quotas: {max_servers: '5'}"), "tenants[0].quotas.max_servers", 2, "must be a whole number"),
        (ROW.format("quotas: {max_server: 5}"), "tenants[0].quotas.max_server", 2, "did you mean max_servers?"),
        (ROW.format("active: 'no'"), "tenants[0].active", 2, "must be true or false"),
        (ROW.format("namespace: Team_A"), "tenants[0].namespace", 2, "not a namespace (RFC 1123"),
        (ROW.format("namespace: -a"), "tenants[0].namespace", 2, "not a namespace (RFC 1123"),
        (ROW.format("namespace: a-"), "tenants[0].namespace", 2, "not a namespace (RFC 1123"),
        (ROW.format(f"namespace: {'a' * 64}"), "tenants[0].namespace", 2, "not a namespace (RFC 1123"),
        (ROW.format("api_keys: [{key_hash: abc}]"), "tenants[0].api_keys[0].key_hash", 2, "64 hexadecimal digits"),
        (ROW.format(f"api_keys: [{{key_hash: '{KEY}0'}}]"), "tenants[0].api_keys[0].key_hash", 2, "64 hexadecimal"),
        (ROW.format(f"api_keys: [{{key_hash: '{key_hash('')}'}}]"), "tenants[0].api_keys[0].key_hash", 2, "empty text"),
        (ROW.format(f"api_keys: [{{key_hash: '{KEY}', name: a/b}}]"), "tenants[0].api_keys[0].name", 2, "a key's name"),
        (ROW.format(f"api_keys: [{{key: '{KEY}', key_hash: '{KEY}'}}]"), "tenants[0].api_keys[0].key", 2, "unknown"),
        (ROW.format(f"api_keys: [{{key_hash: '{KEY}'}}, {{key_hash: '{KEY}'}}]"),
         "tenants[0].api_keys[1].key_hash", 2, "is a key of a too"),
        (TWICE,
         "tenants[1].api_keys[1].key_hash", 3, "is a key of a too; a key has one tenant"),
        ("tenants:\n  - {id: a, namespace: x}\n  - {id: b, namespace: x}\n", "tenants[1].namespace", 3,
         "x is the namespace of a too"),
        (ROW.format("catalog_file: ../a.yaml"), "tenants[0].catalog_file", 2, "is outside the configuration directory"),
        (ROW.format("catalog_file: /etc/passwd"), "tenants[0].catalog_file", 2, "outside the configuration directory"),
        (ROW.format("catalog_file: ~nobody-here/a"), "tenants[0].catalog_file", 2, "the home of nobody"),
        (ROW.format("env_prefix: TEAM"), "tenants[0].env_prefix", 2, "a prefix of variables (as in TEAM_A_)"),
        ("tenants:\n  - {id: a, secrets_dir: s}\n  - {id: b, secrets_dir: x/../s/b}\n", "tenants[1].secrets_dir", 3,
         "where the secrets of a are; give each its own"),
        ("tenants:\n  - {id: a, env_prefix: T_}\n  - {id: b, env_prefix: T_B_}\n", "tenants[1].env_prefix", 3,
         "begins with T_, which is the prefix of a"),
    ],
)  # fmt: skip
def test_a_mistake_refuses_the_file_whole_at_its_line(
    tmp_path: Path, text: str, path: str, line: int | None, words: str
):
    found = Teams(tmp_path, tenants=text).mistakes()
    assert [(file, where, at) for file, where, at, _ in found] == [("tenants.yaml", path, line)], found
    assert words in found[0][3]


def test_every_mistake_is_said_at_once_also_between_tenants_of_which_others_are_bad(tmp_path: Path):
    text = "tenants:\n  - {id: a, namespace: x}\n  - {id: b, quota: {}}\n  - {id: a}\n  - {id: c, namespace: x}\n"
    found = Teams(tmp_path, config="tenants_file: tenants.yaml\nauth: {enabeld: true}\n", tenants=text).mistakes()
    assert [(file, path) for file, path, _, _ in found] == [
        ("config.yaml", "auth.enabeld"),
        ("tenants.yaml", "tenants[1].quota"),
        ("tenants.yaml", "tenants[2].id"),
        ("tenants.yaml", "tenants[3].namespace"),
    ]


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path):
    teams = Teams(tmp_path)
    (tmp_path / "tenants.yaml").unlink()
    assert teams.mistakes() == [("tenants.yaml", "", None, "cannot be read: No such file or directory")]


def test_a_mistake_in_the_file_leaves_what_was_in_force_and_says_so(tmp_path: Path):
    teams = Teams(tmp_path)
    before = teams.load()
    teams.write(TENANTS.replace("max_servers: 5", "max_servers: five"), "tenants.yaml")
    with pytest.raises(ConfigError, match=r"tenants\.yaml:12: tenants\[0\]\.quotas\.max_servers: must be a whole"):
        teams.reload()
    teams.write(TENANTS.replace("    display_name: Team Beta\n", "    active: false\n"), "tenants.yaml")
    assert offered(teams.reload()) == {"team-a": ["payments", "team-a:reports"], "team-b": None}
    assert offered(before)["team-b"] == ["search"]


def test_a_hash_in_capitals_is_the_same_key(tmp_path: Path):
    upper = "sha256:" + KEY.removeprefix("sha256:").upper()
    found = loaded(tmp_path, f"tenants: [{{id: a, api_keys: [{{key_hash: '{upper}'}}]}}]")
    assert found.config.tenants[0].api_keys[0].key_hash == KEY


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("tenants: [{id: a}, {id: b}]", "tenants: a, b are offered no server"),
        (f"tenants: [{{id: a, active: false, api_keys: [{{key_hash: '{KEY}'}}]}}]", "a is suspended, so with their"),
        (WIDE, "a is allowed more requests at once than all their servers"),
    ],
)  # fmt: skip
def test_what_is_rarely_meant_of_tenants_is_warned_about_once(tmp_path: Path, config: str, words: str):
    text = f"tool_access: {{mode: front_door}}\nauth: {{enabled: true}}\n{config}"
    assert [words in one for one in loaded(tmp_path, text).warnings].count(True) == 1


def test_a_warning_about_many_tenants_names_a_few(tmp_path: Path):
    rows = ", ".join(f"{{id: t{number}}}" for number in range(9))
    found = loaded(tmp_path, f"tool_access: {{mode: front_door}}\nauth: {{enabled: true}}\ntenants: [{rows}]").warnings
    assert "tenants: t0, t1, t2, t3, t4 and 4 more are offered no server" in found
