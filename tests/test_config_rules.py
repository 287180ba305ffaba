"""Rules between values: what refuses to start, and what is only warned about."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import pytest

from gateway.config import exposed, known_tenants
from gateway.permissions import BUILT_IN, GRANTABLE, Permission
from tests.support.files import RECIPE, loaded, mistakes

if TYPE_CHECKING:
    from pathlib import Path

AUTH = "auth: {enabled: true, "
ISSUERS = "auth: {{enabled: true, oidc: {{enabled: true, resource_uri: 'https://r', issuers: [{0}]}}, {1}}}"
TWO = "{issuer: 'https://a', tenants: [a]}, {issuer: 'https://b', tenants: [b]}"
OIDC = "auth: {{enabled: true, oidc: {{enabled: true, issuer: '{issuer}', {more}}}}}"
SERVER = "mcp_servers: {{p: {{mode: remote, endpoint: 'http://localhost/mcp', {0}}}}}"


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("tool_access: {mode: front_door}", "auth.enabled", "front_door needs authentication"),
        ("tool_access: {mode: front_door}\nauth: {enabled: true, allow_anonymous: true}", "auth.allow_anonymous",
         "admits nobody without a credential"),
        (AUTH + "oidc: {enabled: true, audience: a}}", "auth.oidc.issuer", "is missing"),
        (OIDC.format(issuer="https://a.example.com", more=""), "auth.oidc", "needs audience or resource_uri"),
        (OIDC.format(issuer="http://a.example.com", more="audience: a"), "auth.oidc.issuer", "allow_insecure_issuer"),
        (OIDC.format(issuer="http://10.0.0.1", more="audience: a"), "auth.oidc.issuer", "neither https nor loopback"),
        (OIDC.format(issuer="http://localhost.evil.com", more="audience: a"), "auth.oidc.issuer", "neither https"),
        (OIDC.format(issuer="https://a", more="audience: a, jwks_uri: 'http://b'"), "auth.oidc.jwks_uri", "neither"),
        ("auth: {opa: {policy_path: mine}}", "auth.opa.policy_path", "must be portcullis"),
        ("server: {trusted_proxies: [10.0.0.0/8, '0.0.0.0/0']}", "server.trusted_proxies[1]", "trusts every address"),
        ("server: {trusted_proxies: ['::/0']}", "server.trusted_proxies[0]", "trusts every address"),
        ("tenants: [{id: a}, {id: b}, {id: a}]", "tenants[2].id", "a is defined twice"),
        (ISSUERS.format("{issuer: 'https://a'}, {issuer: 'https://b', tenants: [b]}", ""),
         "auth.oidc.issuers[0].tenants", "of several issuers each needs the tenants"),
        (ISSUERS.format(TWO.replace("https://b", "https://a"), ""), "auth.oidc.issuers[1].issuer", "there twice"),
        (ISSUERS.format(TWO.replace("https://b", "http://b"), ""), "auth.oidc.issuers[1].issuer", "neither https nor"),
        (ISSUERS.format("{tenants: [a]}", ""), "auth.oidc.issuers[0].issuer", "is missing"),
        (ISSUERS.format(TWO, "").replace("resource_uri: 'https://r'", "scopes: []").replace("tenants: [a]",
         "tenants: [a], audience: x"), "auth.oidc.issuers[1]", "needs audience or resource_uri"),
        (ISSUERS.format(TWO, "").replace("resource_uri", "leeway_seconds: 5, resource_uri"), "auth.oidc.leeway_seconds",
         "belongs to one issuer; write it in the entries of issuers"),
        (ISSUERS.format(TWO, "role_assignments: [{principal: 'user:jo', role: viewer, scope: global}]"),
         "auth.role_assignments[0]", "needs issuer: equal names from two issuers are different principals"),
        (ISSUERS.format(TWO, "role_assignments: [{principal: 'service:s', role: viewer, scope: global, issuer: 'https://a'}]"),
         "auth.role_assignments[0].issuer", "a service has a key and no issuer"),
        ("auth: {roles: {viewer: ['tool:list']}}", "auth.roles.viewer", "comes with the product"),
        ("auth: {roles: {none: []}}", "auth.roles.none", "stands for no role"),
        ("auth: {roles: {ops: []}, default_role: opps}", "auth.default_role", "'opps' is not one of: ops, admin"),
        ("auth: {role_assignments: [{principal: 'user:jo', role: ops, scope: global}]}",
         "auth.role_assignments[0].role", "'ops' is not one of: admin, "),
        (SERVER.format("headers: {Authorization: 'Bearer abc'}"), "mcp_servers.p.headers.Authorization",
         "holds a secret in the open; write ${env:NAME} or ${file:"),
        (SERVER.format("headers: {x-Api-Key: abc}"), "mcp_servers.p.headers.x-Api-Key", "secret in the open"),
        (SERVER.format("headers: {X-Auth-Token: abc}"), "mcp_servers.p.headers.X-Auth-Token", "secret in the open"),
        (SERVER.format("headers: {Cookie: a=b}"), "mcp_servers.p.headers.Cookie", "secret in the open"),
        (SERVER.format("headers: {Host: x}"), "mcp_servers.p.headers.Host", "the gateway's own to set"),
        (SERVER.format("headers: {Mcp-Method: x}"), "mcp_servers.p.headers.Mcp-Method", "the gateway's own to set"),
        (SERVER.format("headers: {content-length: '5'}"), "mcp_servers.p.headers.content-length", "the gateway's own"),
        (SERVER.format("") + "\ntool_projection: {withdrawn: [p/a, q/b]}", "tool_projection.withdrawn[1]",
         "there is no server q in mcp_servers"),
    ],
)  # fmt: skip
def test_a_broken_rule_refuses_the_file_at_the_value_that_breaks_it(tmp_path: Path, text: str, path: str, words: str):
    found = mistakes(tmp_path, text)
    assert [where for where, _, _ in found] == [path], found
    assert words in found[0][2]


def test_several_issuers_and_roles_of_one_s_own_load_into_types(tmp_path: Path):
    roles = "roles: {ops: ['mcp_servers:*', 'audit:read'], root: ['*'], idle: []}, default_role: idle"
    assigned = "role_assignments: [{principal: 'user:jo', role: ops, scope: 'tenant:a', issuer: 'https://b'}]"
    auth = loaded(tmp_path, ISSUERS.format(TWO, f"{roles}, {assigned}")).config.auth
    assert [(one.issuer, one.tenants) for one in auth.oidc.trusted] == [("https://a", ("a",)), ("https://b", ("b",))]
    assert auth.every_role["ops"] == ("mcp_servers:*", "audit:read")
    assert auth.admin_roles == {"admin", "root"}
    assert auth.default_role == "idle"


def test_one_issuer_is_trusted_in_the_short_form_as_in_the_long_one(tmp_path: Path):
    (short,) = loaded(tmp_path, OIDC.format(issuer="https://a", more="audience: x")).config.auth.oidc.trusted
    long_form = "auth: {enabled: true, oidc: {enabled: true, issuers: [{issuer: 'https://a', audience: x}]}}"
    (long,) = loaded(tmp_path, long_form).config.auth.oidc.trusted
    assert all(getattr(short, key) == getattr(long, key) for key in type(long).model_fields)
    assert loaded(tmp_path, "auth: {oidc: {issuer: 'https://a', audience: x}}").config.auth.oidc.trusted == ()


def test_the_built_in_roles_grant_only_permissions_that_there_are():
    assert {one for grants in BUILT_IN.values() for one in grants} <= GRANTABLE
    assert [one.value for one in Permission] == sorted(one.value for one in Permission)


def test_two_headers_that_differ_by_case_alone_are_one_header_and_refused(tmp_path: Path):
    found = mistakes(tmp_path, SERVER.format("headers: {X-Team: a, x-team: b}"))
    assert [path for path, _, _ in found] == ["mcp_servers.p.headers.X-Team", "mcp_servers.p.headers.x-team"]


@pytest.mark.parametrize("issuer", ["http://localhost:9000", "http://127.0.0.1:9000/realm", "http://[::1]:9000"])
def test_an_issuer_on_loopback_needs_no_https_because_nobody_sits_between(tmp_path: Path, issuer: str):
    assert loaded(tmp_path, OIDC.format(issuer=issuer, more="audience: a")).warnings == ()


def test_an_insecure_issuer_that_is_allowed_is_warned_about(tmp_path: Path):
    text = OIDC.format(issuer="http://idp", more="audience: a, allow_insecure_issuer: true")
    assert "is plain http" in loaded(tmp_path, text).warnings[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("auth: {opa: {enabled: false}}", "auth.opa.enabled: false is ignored, because every decision is OPA's"),
        ("auth: {enabled: false}", "credentials are ignored"),
        ("auth: {oidc: {enabled: true, issuer: 'https://a', audience: a}}", "no effect while auth.enabled is false"),
        (AUTH + "oidc: {issuer: 'https://a'}}", "auth.oidc.enabled is false: the issuer's tokens are refused"),
        (AUTH + "api_key: {enabled: false}}", "nobody can be let in"),
        (ISSUERS.format(TWO, "role_assignments: [{principal: 'group:g', role: viewer, scope: global, issuer: 'https://c'}]"),
         "auth.role_assignments[0].issuer: https://c is not trusted, so nobody has this role by it"),
        (ISSUERS.format(TWO, ""), "auth.oidc.issuers[0].tenants: nothing else knows a"),
        (AUTH + "allow_anonymous: false}\nserver: {host: 0.0.0.0}", "plain http on 0.0.0.0"),
        ("tool_access: {mode: front_door}\n" + AUTH + "allow_anonymous: false}\n" + SERVER.format(""),
         "mcp_servers.p.tool_access.member: the server has no members"),
        (SERVER.format("tool_projection: {tenant_overrides: {a: {}}}"), "no member entry knows the tenant a"),
        (SERVER.format("") + "\ntool_projection: {tenant_overrides: {b: {}}}", "no member entry knows the tenant b"),
    ],
)  # fmt: skip
def test_what_is_allowed_and_rarely_meant_is_warned_about(tmp_path: Path, text: str, words: str):
    assert any(words in one for one in loaded(tmp_path, text).warnings)


@pytest.mark.parametrize(
    ("server", "warned"),
    [
        ("host: 0.0.0.0", True),
        ("host: 127.0.0.1", False),
        ("host: localhost", False),
        ("host: '::1'", False),
        ("host: '::'", True),
        ("host: 0.0.0.0, tls: {cert_file: c, key_file: k}", False),
    ],
)
def test_plain_http_on_an_address_that_others_reach_is_warned_about(tmp_path: Path, server: str, warned: bool):
    found = loaded(tmp_path, f"auth: {{enabled: true}}\nserver: {{{server}}}").warnings
    assert any("plain http" in one for one in found) is warned


@pytest.mark.parametrize(
    ("host", "enabled", "refused"),
    [
        ("127.0.0.1", False, False),
        ("localhost", False, False),
        ("::1", False, False),
        ("0.0.0.0", False, True),
        ("::", False, True),
        ("192.168.1.5", False, True),
        ("gateway.internal", False, True),
        ("0.0.0.0", True, False),
    ],
)
def test_auth_off_on_a_host_that_others_reach_is_not_started_unasked(
    tmp_path: Path, host: str, enabled: bool, refused: bool
):
    """A30; the final host counts, so `--host` is seen too."""
    text = f"auth: {{enabled: {str(enabled).lower()}}}"
    why = exposed(loaded(tmp_path, text).with_server(host=host).config)
    assert (why is not None) is refused
    assert why is None or "--insecure" in why


def test_host_and_port_of_the_command_line_win_and_bring_their_own_warnings(tmp_path: Path):
    before = loaded(tmp_path, RECIPE.read_text())
    after = before.with_server(host="0.0.0.0").with_server(port=9)
    assert (after.config.server.host, after.config.server.port) == ("0.0.0.0", 9)
    assert after.hash == before.hash
    assert any("plain http" in one for one in after.warnings)


def test_known_tenants_are_those_of_member_entries_and_of_tenants(tmp_path: Path):
    text = "tenants: [{id: c}]\n" + SERVER.format("tool_access: {member: {a: {}, '*': {}}}")
    assert known_tenants(loaded(tmp_path, text).config) == {"a", "c"}


def test_secrets_come_from_the_environment_and_from_files_beside_the_configuration(tmp_path: Path):
    (tmp_path / "team.token").write_text("s3cret\n")
    text = SERVER.format('headers: {Authorization: "Bearer ${env:TOKEN}", X-Team-Token: "${file:team.token}", X-A: b}')
    found = loaded(tmp_path, text, TOKEN="canary")
    headers = found.config.mcp_servers["p"].headers
    shown = {name: value if isinstance(value, str) else value.reveal() for name, value in headers.items()}
    assert shown == {"Authorization": "Bearer canary", "X-Team-Token": "s3cret", "X-A": "b"}
    assert found.files == (tmp_path / "config.yaml", tmp_path / "team.token")


def test_no_way_of_printing_a_configuration_shows_a_secret(tmp_path: Path):
    """A36, A67."""
    text = SERVER.format('headers: {Authorization: "Bearer ${env:TOKEN}"}')
    found = loaded(tmp_path, text, TOKEN="canary-1234")
    config = found.config
    dumps = (repr(found), str(found), repr(config), str(config), f"{config.mcp_servers['p'].headers}")
    assert not [text for text in dumps if "canary" in text]
    assert "canary" not in str(config.model_dump()) + config.model_dump_json()


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("${env:ABSENT}", "the environment variable ABSENT is not set"),
        ("${env:EMPTY}", "the environment variable EMPTY is not set"),
        ("${file:absent}", "cannot be read: No such file"),
        ("${file:empty}", "is empty"),
        ("${file:two-lines}", "line break"),
        ("${file:.}", "cannot be read"),
        ("${ENV:X}", "is not a reference"),
    ],
)
def test_a_secret_that_cannot_be_had_is_a_mistake_that_names_where_it_was_looked_for(
    tmp_path: Path, reference: str, words: str
):
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "two-lines").write_text("a\nb\n")
    found = mistakes(tmp_path, SERVER.format(f"headers: {{X-A: '{reference}'}}"), EMPTY="")
    assert [words in message for _, _, message in found] == [True]


def test_a_secret_with_a_wrong_character_is_refused_without_being_shown(tmp_path: Path):
    found = mistakes(tmp_path, SERVER.format("headers: {X-A: '${env:BAD}'}"), BAD="canary\nX-Injected: 1")
    assert found
    assert "canary" not in str(found)


def test_paths_are_relative_to_the_file_and_home_is_known(tmp_path: Path):
    text = "audit: {file: logs/audit.jsonl}\nstorage: {url: 'sqlite:///ledger.db'}\nopa: {custom_policies: ~/rego}"
    config = loaded(tmp_path, text).config
    assert config.audit.file == tmp_path / "logs" / "audit.jsonl"
    assert config.storage.url == f"sqlite:///{tmp_path / 'ledger.db'}"
    assert config.opa.custom_policies
    assert "~" not in str(config.opa.custom_policies)


def test_default_role_none_switches_it_off(tmp_path: Path):
    assert loaded(tmp_path, "auth: {default_role: none}").config.auth.default_role is None
    assert loaded(tmp_path, "auth: {enabled: false}").config.auth.default_role == "developer"


def test_networks_are_networks_and_single_addresses_count(tmp_path: Path):
    text = "server: {trusted_proxies: [10.0.0.0/8, '192.168.0.1', 'fd00::/8']}"
    expected = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "192.168.0.1/32", "fd00::/8")))
    assert loaded(tmp_path, text).config.server.trusted_proxies == expected
