"""Catalogs, tenant by tenant: a broken one is its own tenant's trouble, and reaches nothing that it may not."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from gateway.config.forms import CATALOG
from tests.support.teams import CONFIG, TENANTS, A, B, Teams, kept, offered

if TYPE_CHECKING:
    from pathlib import Path

WHOLE = {"team-a": ["payments", "team-a:reports"], "team-b": ["search"]}


def own(keys: str, id_: str = "reports") -> str:
    return f"mcp_servers:\n  {id_}: {{{keys}}}\n"


def remote(more: str) -> str:
    return own(f"mode: remote, endpoint: https://reports.example.com/mcp, {more}")


def secret(reference: str) -> str:
    return remote(f"headers: {{X-Key: '${{{reference}}}'}}")


@pytest.mark.parametrize(
    ("text", "path", "line", "words"),
    [
        ("", "", None, "is empty; see docs/tenants.md"),
        ("servers: {payments: {}, payments: {}}", "servers.payments", 1, "is there twice"),
        ("servers:\n  payment: {}\n", "servers.payment", 2, "; did you mean payments?"),
        ("servers:\n  payments: {tool: {}}\n", "servers.payments.tool", 2, "did you mean tools?"),
        ("servers:\n  payments: {tools: {deny_list: ['{a}']}}\n", "servers.payments.tools.deny_list[0]", 2, "no tool"),
        ("servers:\n  payments: {headers: {X-A: b}}\n", "servers.payments.headers", 2, "it belongs in"),
        ("tenants: []", "tenants", 1, "unknown key"),
        (remote("tool_access: {member: {team-b: {}}}"), "mcp_servers.reports.tool_access", 2, "unknown key"),
        (remote("allowed_networks: [10.0.0.0/8]"), "mcp_servers.reports.allowed_networks", 2, "unknown key"),
        (remote("tool_projection: {tenant_overrides: {}}"),
         "mcp_servers.reports.tool_projection.tenant_overrides", 2, "unknown key"),
        ("servers: {search: {}}\n" + own("mode: remote, endpoint: https://x.example.com", "search"),
         "mcp_servers.search", 3, "is offered a shared server search already"),
        (own("mode: remote"), "mcp_servers.reports.endpoint", 2, "is missing; add endpoint"),
        (own("mode: remote, endpoint: https://x.example.com, command: [x]"), "mcp_servers.reports.command", 2,
         "belongs to mode: stdio"),
        (remote("headers: {Authorization: 'Bearer abc'}"), "mcp_servers.reports.headers.Authorization", 2,
         "holds a secret in the open"),
        (remote("headers: {Mcp-Name: x}"), "mcp_servers.reports.headers.Mcp-Name", 2, "the gateway's own"),
        (own("mode: stdio, command: [reports]"), "mcp_servers.reports.mode", 2, "needs allow_stdio of team-a"),
        ("[" * (CATALOG.bounds.max_depth + 1), "", 1, "levels deep"),
        ("# " + "x" * CATALOG.bounds.max_bytes, "", None, "is larger than"),
        ("a: &a [x]\nb: *a\n", "", 1, "anchors and aliases"),
    ],
)  # fmt: skip
def test_a_mistake_at_the_start_suspends_its_tenant_alone_and_is_told_with_its_line(
    tmp_path: Path, text: str, path: str, line: int | None, words: str
):
    teams = Teams(tmp_path, a=text)
    found = teams.mistakes()
    assert found[0][:3] == ("catalogs/team-a.yaml", path, line), found
    assert words in found[0][3]
    assert teams.loaded
    assert (kept(teams.loaded), offered(teams.loaded)) == ({"team-a": True}, {"team-a": None, "team-b": ["search"]})


def test_a_catalog_that_is_not_there_is_told_where_it_is_named(tmp_path: Path):
    teams = Teams(tmp_path)
    (tmp_path / "catalogs" / "team-b.yaml").unlink()
    (file, path, line, message) = teams.mistakes()[0]
    assert (file, path, line) == ("tenants.yaml", "tenants[1].catalog_file", 18)
    assert message.endswith("catalogs/team-b.yaml cannot be read: No such file or directory")
    teams.write(B, "catalogs/team-b.yaml")
    assert offered(teams.reload()) == WHOLE


@pytest.mark.parametrize("most", [1, 2])
def test_more_servers_than_the_quota_are_refused_for_that_tenant_alone(tmp_path: Path, most: int):
    """Own servers and those of member entries count too."""
    config = CONFIG.replace('localhost/search"}', 'localhost/search", tool_access: {member: {team-a: {}}}}')
    teams = Teams(tmp_path, config=config, tenants=TENANTS.replace("max_servers: 5", f"max_servers: {most}"))
    assert teams.mistakes() == [
        ("tenants.yaml", "tenants[0].catalog_file", 5, f"team-a is offered 3 servers, and its max_servers is {most}")
    ]
    assert teams.loaded
    assert offered(teams.loaded)["team-b"] == ["search"]


def test_a_catalog_that_breaks_keeps_its_last_good_version_and_keeps_nobody_waiting(tmp_path: Path):
    teams = Teams(tmp_path)
    good = teams.load()
    teams.write("servers: {payments: {tools", "catalogs/team-a.yaml")
    teams.write("servers: {payments: {}}", "catalogs/team-b.yaml")
    loaded = teams.reload()
    assert offered(loaded) == {"team-a": ["payments", "team-a:reports"], "team-b": ["payments"]}
    assert kept(loaded) == {"team-a": False}
    assert loaded.config.tenants[0] is good.config.tenants[0]
    teams.write(A.replace("refund", "charge"), "catalogs/team-a.yaml")
    loaded = teams.reload()
    assert loaded.config.tenants[0].catalog
    assert loaded.config.tenants[0].catalog.servers["payments"].tools.deny_list == ("charge",)
    assert kept(loaded) == {}


def test_the_last_good_version_lasts_through_changes_elsewhere_and_other_mistakes(tmp_path: Path):
    teams = Teams(tmp_path)
    teams.load()
    for text in ("a: [", "", "servers: 5"):
        teams.write(text, "catalogs/team-a.yaml")
        assert (offered(teams.reload()), kept(teams.reload())) == (WHOLE, {"team-a": False})
    teams.write(TENANTS.replace("Team Alpha", "Team Aleph"), "tenants.yaml")
    loaded = teams.reload()
    assert (loaded.config.tenants[0].display_name, offered(loaded)) == ("Team Aleph", WHOLE)


def test_a_suspended_tenant_is_suspended_whatever_its_catalog_says(tmp_path: Path):
    teams = Teams(tmp_path, tenants=TENANTS.replace("    display_name: Team Alpha\n", "    active: false\n"))
    assert offered(teams.load())["team-a"] is None
    teams.write("a: [", "catalogs/team-a.yaml")
    assert offered(teams.reload())["team-a"] is None


def test_a_server_that_is_gone_is_gone_from_last_good_catalogs_too(tmp_path: Path):
    teams = Teams(tmp_path, a="servers: {payments: {}, search: {}}")
    teams.load()
    teams.write(CONFIG.replace("  payments: {mode", "  billing: {mode"), "config.yaml")
    loaded = teams.reload()
    assert offered(loaded) == {"team-a": ["search"], "team-b": ["search"]}
    assert kept(loaded) == {"team-a": False}


def test_a_shared_server_with_the_id_of_an_own_one_takes_the_own_one_s_place(tmp_path: Path):
    teams = Teams(tmp_path)
    teams.load()
    shared = '  reports: {mode: remote, endpoint: "http://localhost/r", tool_access: {member: {"*": {}}}}\n'
    teams.write(CONFIG + shared, "config.yaml")
    loaded = teams.reload()
    assert (offered(loaded)["team-a"], kept(loaded)) == (["payments"], {"team-a": False})


def test_what_the_operator_no_longer_allows_goes_at_once_although_the_catalog_is_kept_back(tmp_path: Path):
    allowed = TENANTS.replace("    namespace: mcp-team-a\n", "    allow_stdio: true\n")
    teams = Teams(tmp_path, tenants=allowed, a=A + "  tool: {mode: stdio, command: [tool]}\n")
    assert offered(teams.load())["team-a"] == ["payments", "team-a:reports", "team-a:tool"]
    teams.write(TENANTS, "tenants.yaml")
    loaded = teams.reload()
    assert (offered(loaded)["team-a"], kept(loaded)) == (["payments"], {"team-a": False})


def test_a_quota_that_the_last_good_catalog_exceeds_too_suspends_the_tenant(tmp_path: Path):
    teams = Teams(tmp_path)
    teams.load()
    teams.write(TENANTS.replace("max_servers: 5", "max_servers: 1"), "tenants.yaml")
    loaded = teams.reload()
    assert (offered(loaded)["team-a"], kept(loaded)) == (None, {"team-a": True})


def test_a_catalog_that_leads_outside_is_not_read_and_becomes_news_when_it_leads_back(tmp_path: Path):
    inside = tmp_path / "inside"
    outside = tmp_path / "outside.yaml"
    outside.write_text("secret: of somebody else\n")
    teams = Teams(inside)
    link = inside / "catalogs" / "team-a.yaml"
    link.unlink()
    link.symlink_to(outside)
    (_, path, _, message) = teams.mistakes()[0]
    assert (path, f"it leads outside {inside}" in message, "secret" in message) == (
        "tenants[0].catalog_file",
        True,
        False,
    )
    loaded = teams.load()
    assert loaded.memory.fingerprint(loaded.files) == loaded.digest
    link.unlink()
    link.symlink_to("team-b.yaml")
    assert loaded.memory.fingerprint(loaded.files) != loaded.digest
    assert offered(teams.reload())["team-a"] == ["search"]


def test_a_folder_of_catalogs_that_leads_outside_is_not_read_either(tmp_path: Path):
    teams = Teams(tmp_path / "inside")
    (tmp_path / "inside" / "catalogs").rename(tmp_path / "outside")
    (tmp_path / "inside" / "catalogs").symlink_to("../outside")
    assert len(teams.mistakes()) == 2


def test_links_inside_the_directory_work_as_kubernetes_makes_them(tmp_path: Path):
    teams = Teams(tmp_path)
    folder = tmp_path / "catalogs"
    (folder / "..v1").mkdir()
    for name in ("team-a.yaml", "team-b.yaml"):
        (folder / name).rename(folder / "..v1" / name)
        (folder / name).symlink_to(f"..data/{name}")
    (folder / "..data").symlink_to("..v1")
    assert offered(teams.load()) == WHOLE


def test_a_pipe_in_the_place_of_a_catalog_keeps_nobody_waiting(tmp_path: Path):
    teams = Teams(tmp_path)
    (tmp_path / "catalogs" / "team-a.yaml").unlink()
    os.mkfifo(tmp_path / "catalogs" / "team-a.yaml")
    assert [message.rpartition(": ")[2] for *_, message in teams.mistakes()] == ["not a regular file"]


# What a tenant's own servers may reach: secrets, addresses, commands.


def fenced(tmp_path: Path, keys: str, a: str) -> Teams:
    tenants = TENANTS.replace("    namespace: mcp-team-a\n", f"    namespace: mcp-team-a\n{keys}")
    teams = Teams(tmp_path, tenants=tenants, a=a)
    teams.environ = {"TEAM_A_KEY": "of a", "TEAM_B_KEY": "of b", "DATABASE": "of the operator"}
    teams.write("of a\n", "secrets/team-a/key")
    teams.write("of b\n", "secrets/team-b/key")
    return teams


@pytest.mark.parametrize(
    ("keys", "reference", "words"),
    [
        ("", "file:key", "no file before its tenant has a secrets_dir"),
        ("", "env:TEAM_A_KEY", "no variable before its tenant has an env_prefix"),
        ("    secrets_dir: secrets/team-a\n", "file:../team-b/key", "leads outside"),
        ("    secrets_dir: secrets/team-a\n", "file:x/../../team-b/key", "leads outside"),
        ("    secrets_dir: secrets/team-a\n", "file:/etc/passwd", "leads outside"),
        ("    secrets_dir: secrets/team-a\n", "file:../../config.yaml", "leads outside"),
        ("    secrets_dir: secrets/team-a\n", "file:link", "leads outside"),
        ("    secrets_dir: secrets/team-a\n", "file:.", "Is a directory"),
        ("    secrets_dir: secrets/team-a\n", "file:absent", "No such file"),
        ("    secrets_dir: secrets/team-a\n", "env:TEAM_A_KEY", "no variable"),
        ("    env_prefix: TEAM_A_\n", "env:TEAM_B_KEY", "only variables that begin with TEAM_A_"),
        ("    env_prefix: TEAM_A_\n", "env:DATABASE", "only variables that begin with TEAM_A_"),
        ("    env_prefix: TEAM_A_\n", "env:TEAM_A_OTHER", "TEAM_A_OTHER is not set"),
        ("    env_prefix: TEAM_A_\n", "file:key", "no file"),
    ],
)
def test_a64_a_catalog_reads_no_secret_that_is_not_its_tenant_s(tmp_path: Path, keys: str, reference: str, words: str):
    teams = fenced(tmp_path, keys, secret(reference))
    (tmp_path / "secrets" / "team-a" / "link").symlink_to("../team-b/key")
    ((_, path, line, message),) = teams.mistakes()
    assert (path, line, words in message) == ("mcp_servers.reports.headers.X-Key", 2, True), message
    assert "of " not in message


@pytest.mark.parametrize(
    ("keys", "reference"),
    [
        ("    secrets_dir: secrets/team-a\n", "file:key"),
        ("    env_prefix: TEAM_A_\n", "env:TEAM_A_KEY"),
    ],
)
def test_a_catalog_reads_the_secrets_that_the_operator_gave_its_tenant(tmp_path: Path, keys: str, reference: str):
    catalog = fenced(tmp_path, keys, secret(reference)).load().config.tenants[0].catalog
    assert catalog
    header = catalog.own["reports"].headers["X-Key"]
    assert header.reveal() == "of a"
    assert "of a" not in f"{catalog!r}"


def test_a_changed_or_late_secret_of_a_catalog_is_taken_up(tmp_path: Path):
    teams = fenced(tmp_path, "    secrets_dir: secrets/team-a\n", secret("file:late"))
    loaded = teams.load()
    assert kept(loaded) == {"team-a": True}
    for value in ("first", "second"):
        teams.write(value, "secrets/team-a/late")
        assert loaded.memory.fingerprint(loaded.files) != loaded.digest
        loaded = teams.reload()
        catalog = loaded.config.tenants[0].catalog
        assert catalog
        assert catalog.own["reports"].headers["X-Key"].reveal() == value


PRIVATE = "is not public; it needs its network in allowed_networks of team-a"
LOOPBACK = ("localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]", "[2002:7f00:1::]")
INTERNAL = ("10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1", "[fd00::1]", "[64:ff9b::a00:1]")
METADATA = ("169.254.169.254", "100.100.100.200", "[fd00:ec2::254]", "[fe80::1]", "[::ffff:169.254.169.254]", "0.0.0.0")


@pytest.mark.parametrize("host", [*LOOPBACK, *INTERNAL, *METADATA])
def test_a21_an_own_server_lies_on_no_address_that_the_operator_did_not_allow(tmp_path: Path, host: str):
    teams = Teams(tmp_path, a=own(f"mode: remote, endpoint: 'https://{host}/mcp'"))
    ((_, path, _, message),) = teams.mistakes()
    assert (path, PRIVATE in message) == ("mcp_servers.reports.endpoint", True), message


@pytest.mark.parametrize("host", ["10.1.2.3", "[::ffff:10.1.2.3]"])
def test_an_own_server_may_lie_in_a_network_that_the_operator_allows(tmp_path: Path, host: str):
    tenants = TENANTS.replace("    namespace: mcp-team-a\n", "    allowed_networks: [10.1.0.0/16]\n")
    teams = Teams(tmp_path, tenants=tenants, a=own(f"mode: remote, endpoint: 'http://{host}:8080/mcp'"))
    addresses = teams.load().config.tenants[0].addresses
    assert kept(teams.load()) == {}
    found = [addresses.admit(one) for one in ("10.1.2.3", "93.184.216.34", "10.2.0.1", "127.0.0.1", "169.254.169.254")]
    assert found == [True, True, False, False, False]


def test_an_own_server_speaks_https_except_in_a_network_that_the_operator_allows(tmp_path: Path):
    teams = Teams(tmp_path, a=own("mode: remote, endpoint: http://reports.example.com/mcp"))
    assert "must be https" in teams.mistakes()[0][3]


def test_commands_run_on_the_gateway_only_where_the_operator_allows_it(tmp_path: Path):
    tenants = TENANTS.replace("    namespace: mcp-team-a\n", "    allow_stdio: true\n")
    teams = Teams(tmp_path, tenants=tenants, a=own("mode: stdio, command: [./reports, -v]"))
    catalog = teams.load().config.tenants[0].catalog
    assert catalog
    assert (catalog.own["reports"].command, catalog.own["reports"].cwd) == (("./reports", "-v"), tmp_path / "catalogs")
