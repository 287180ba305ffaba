"""Everything wrong with a file is said at once: path, line, and what to do."""

from __future__ import annotations

import itertools
import json
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.config import load
from gateway.config.known import all_keys, known_keys
from gateway.config.schema import Config
from gateway.config.tenants import Catalog, TenantsFile
from gateway.errors import ConfigError
from tests.support.files import RECIPE, loaded, mistakes
from tests.support.teams import Teams

if TYPE_CHECKING:
    from pathlib import Path

MANY = """\
tool_access: {mode: front_door, member: {a: {}}}
auth:
  enabeld: true
  oidc: {enabled: yes, issuer: http://idp.example.com}
server: {port: 0123, trusted_proxies: [0.0.0.0/0]}
tenants: [{id: no}, {id: 2024-01-01}, {id: 123}]
audience: x
mcp_servers:
  p:
    endpoint: http://user:word@x
    mode: local
    endpont: x
    headers: {Authorization: "Bearer abc", X-A: "${env:NOT_SET}", X-B: "${file:absent}"}
    tools: {deny_list: ["{a,b}"], allow_list: }
    tool_access: {member: {tenant:a: }}
"""


def test_every_mistake_of_a_bad_file_is_reported_at_once_with_its_line(tmp_path: Path):
    found = mistakes(tmp_path, MANY)
    assert [(path, line) for path, line, _ in found] == [
        ("tool_access.member", 1),
        ("auth.enabeld", 3),
        ("auth.oidc.issuer", 4),
        ("server.port", 5),
        ("server.trusted_proxies[0]", 5),
        ("tenants[0].id", 6),
        ("tenants[1].id", 6),
        ("tenants[2].id", 6),
        ("audience", 7),
        ("mcp_servers.p.endpoint", 10),
        ("mcp_servers.p.mode", 11),
        ("mcp_servers.p.endpont", 12),
        ("mcp_servers.p.headers.X-A", 13),
        ("mcp_servers.p.headers.X-B", 13),
        ("mcp_servers.p.tools.allow_list", 14),
        ("mcp_servers.p.tools.deny_list[0]", 14),
        ("mcp_servers.p.tool_access.member.tenant:a", 15),
    ]


SERVER = "mcp_servers: {{p: {{mode: remote, endpoint: 'http://localhost/mcp', {0}}}}}"


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("auth: {enabledd: true}", "auth.enabledd", "did you mean enabled?"),
        ("servers: {}", "servers", "did you mean server?"),
        ("mcp_server: {}", "mcp_server", "did you mean mcp_servers?"),
        ("oidc: {}", "oidc", "it belongs in auth.oidc"),
        ("allow_anonymous: true", "allow_anonymous", "it belongs in auth.allow_anonymous"),
        ("timeout_seconds: 3", "timeout_seconds", "it belongs in mcp_servers.<id>.timeout_seconds"),
        ("zzzz: 3", "zzzz", "known here: audit, auth, "),
        ("tool_access: {member: {}}", "tool_access.member", "belongs to a server: mcp_servers.<id>.tool_access.member"),
        ("tenant_file: x.yaml", "tenant_file", "did you mean tenants_file?"),
        ("tool_access: {mode: frontdoor}", "tool_access.mode", "'frontdoor' is not one of: 'egress' or 'front_door'"),
        ("auth: true", "auth", "must be a mapping"),
        ("auth:", "auth", "is empty; give it a mapping (key: value), or remove the key"),
        ("auth: {enabled: 'true'}", "auth.enabled", "must be true or false"),
        ("auth: {enabled: 1}", "auth.enabled", "must be true or false"),
        ("server: {port: '8000'}", "server.port", "must be a whole number"),
        ("server: {port: 010}", "server.port", "010 must be a whole number, written plainly in decimal"),
        ("server: {port: 70000}", "server.port", "less than or equal to 65535"),
        ("server: {host: ''}", "server.host", "not a host name or address"),
        ("server: {host: '127.0.0.1:80'}", "server.host", "the port has a key of its own"),
        ("server: {trusted_proxies: [10.0.0.1/8]}", "server.trusted_proxies[0]", "host bits set"),
        ("server: {trusted_proxies: 10.0.0.0/8}", "server.trusted_proxies", "must be a list"),
        ("server: {allowed_origins: ['https://x/y']}", "server.allowed_origins[0]", "must be an origin"),
        ("server: {allowed_hosts: ['https://x']}", "server.allowed_hosts[0]", "not a host name"),
        ("server: {drain_seconds: .inf}", "server.drain_seconds", "must be a number"),
        ("server: {tls: {cert_file: c.pem}}", "server.tls.key_file", "is missing; add key_file"),
        ("auth: {default_role: root}", "auth.default_role", "'root' is not one of"),
        ("auth: {default_role: }", "auth.default_role", "write none"),
        ("auth: {api_key: {header_name: 'X Key'}}", "auth.api_key.header_name", "not a header name"),
        ("auth: {oidc: {algorithms: [HS256]}}", "auth.oidc.algorithms[0]", "'HS256' is not one of"),
        ("auth: {oidc: {algorithms: [none]}}", "auth.oidc.algorithms[0]", "'none' is not one of"),
        ("auth: {oidc: {algorithms: []}}", "auth.oidc.algorithms", "at least one"),
        ("auth: {oidc: {leeway_seconds: 121}}", "auth.oidc.leeway_seconds", "less than or equal to 120"),
        ("auth: {oidc: {issuer: auth.example.com}}", "auth.oidc.issuer", "must be a whole address"),
        ("auth: {oidc: {issuer: 'https://a.example.com/#x'}}", "auth.oidc.issuer", "fragment"),
        ("auth: {oidc: {audience: '${env:AUDIENCE}'}}", "auth.oidc.audience", "only in the headers"),
        ("auth: {oidc: {subject_claim: no}}", "auth.oidc.subject_claim", 'put it in quotes: "no"'),
        ("auth: {roles: {Ops: []}}", "auth.roles.Ops", "not a role's name"),
        ("auth: {roles: {ops: ['tools:list']}}", "auth.roles.ops[0]", "'tools:list' is not one of: *, audit:*, "),
        ("auth: {roles: {ops: ['tool:lst']}}", "auth.roles.ops[0]", "'tool:lst' is not one of"),
        ("auth: {max_stale_seconds: 0}", "auth.max_stale_seconds", "greater than or equal to 1"),
        (SERVER.format("access: {prompts: {}}"), "mcp_servers.p.access.prompts", "did you mean prompt?"),
        (SERVER.format("access: {prompt: {deny_list: [' a']}}"), "mcp_servers.p.access.prompt.deny_list[0]",
         "not a prompt's name"),
        (SERVER.format("access: {resource: {deny_list: ['a b']}}"), "mcp_servers.p.access.resource.deny_list[0]",
         "not a URI or a glob"),
        (SERVER.format("tool_access: {member: {a: {access: {tool: {}}}}}"),
         "mcp_servers.p.tool_access.member.a.access.tool", "did you mean mcp_servers.<id>.tools"),
        ("auth: {role_assignments: [{principal: jo, role: admin, scope: global}]}",
         "auth.role_assignments[0].principal", "user:…, service:… or group:…"),
        ("auth: {role_assignments: [{principal: 'user:jo', role: admin, scope: tenant}]}",
         "auth.role_assignments[0].scope", "must be global or tenant:<tenant id>"),
        ("auth: {opa: {url: 'ftp://x'}}", "auth.opa.url", "unix:///path/to/socket"),
        ("opa: {on_stale: maybe}", "opa.on_stale", "'maybe' is not one of"),
        ("opa: {replica: a/b}", "opa.replica", "not a replica's name"),
        ("sync: {listen: '8181'}", "sync.listen", "must be host:port"),
        ("storage: {url: 'mysql://db/x'}", "storage.url", "or postgresql://user@host/database"),
        ("storage: {url: 'postgresql://u:secret@db/x'}", "storage.url", "holds a password in the open"),
        ("storage: {url: 'postgresql://u@db/x?password=secret'}", "storage.url", "holds a password in the open"),
        ("storage: {url: 'postgresql://u:${env:NOT_SET}@db/x'}", "storage.url", "NOT_SET is not set"),
        ("storage: {url: 'ledger.db'}", "storage.url", "must be sqlite:///path"),
        ("tenants: [{id: ' tenant:a'}]", "tenants[0].id", "not a tenant id"),
        ("tenants: [{id: _x}]", "tenants[0].id", "not a tenant id"),
        ("tenants: [{id: 0123}]", "tenants[0].id", 'put it in quotes: "0123"'),
        ("tenants: [{id: x, quota: {}}]", "tenants[0].quota", "did you mean quotas?"),
        ("tenants: [{id: x, catalog: {}}]", "tenants[0].catalog", "a file of its own, named by catalog_file"),
        ("mcp_servers: {'a/b': {mode: remote, endpoint: 'http://x/'}}", "mcp_servers.a/b", "not a server id"),
        ("mcp_servers: {p: {mode: remote}}", "mcp_servers.p.endpoint", "is missing"),
        (SERVER.format("timeout_seconds: 0"), "mcp_servers.p.timeout_seconds", "greater than 0"),
        (SERVER.format("description: 12"), "mcp_servers.p.description", 'put it in quotes: "12"'),
        (SERVER.format("tools: {deny_list: [refund,]}, allow: []"), "mcp_servers.p.allow", "unknown key"),
        (SERVER.format("tools: {deny_list: ['re fund']}"), "mcp_servers.p.tools.deny_list[0]", "would match no tool"),
        (SERVER.format("tools: {deny_list: refund}"), "mcp_servers.p.tools.deny_list", "must be a list"),
        (SERVER.format("tools: {deny_list: [no]}"), "mcp_servers.p.tools.deny_list[0]", 'put it in quotes: "no"'),
        (SERVER.format("tool_access: {member: {'a b': {}}}"), "mcp_servers.p.tool_access.member.a b", "neither"),
        (SERVER.format("tool_access: {member: {a: {timeout_seconds: 3}}}"),
         "mcp_servers.p.tool_access.member.a.timeout_seconds", "it belongs in mcp_servers.<id>.timeout_seconds"),
        (SERVER.format("tool_projection: {withdrawn: ['x*']}"),
         "mcp_servers.p.tool_projection.withdrawn[0]", "for a pattern use a deny_list"),
        (SERVER.format("tool_projection: {tenant_overrides: {'*': {}}}"),
         "mcp_servers.p.tool_projection.tenant_overrides.*", "not a tenant id"),
        ("tool_projection: {withdrawn: [charge]}", "tool_projection.withdrawn[0]", "must be written server/tool"),
        (SERVER.format("headers: {X-A: 5}"), "mcp_servers.p.headers.X-A", "text"),
        (SERVER.format("headers: {X-A: {reference: a, _value: b}}"), "mcp_servers.p.headers.X-A", "text"),
        (SERVER.format("headers: {'X A': b}"), "mcp_servers.p.headers.X A", "not a header name"),
        (SERVER.format('headers: {X-A: "a\\nb"}'), "mcp_servers.p.headers.X-A", "line break"),
        (SERVER.format("headers: {X-A: '${tenants}'}"), "mcp_servers.p.headers.X-A", "not a reference"),
        (SERVER.format("headers: {X-A: '${env:A'}"), "mcp_servers.p.headers.X-A", "not closed"),
        ("logging: {level: loud}", "logging.level", "'loud' is not one of"),
        ("server: {tls: }", "server.tls", "is empty; give it a value, or remove the key"),
        ("opa: {custom_policies: ~}", "opa.custom_policies", "is empty; give it a value, or remove the key"),
        ("auth: {oidc: {enabled: true, issuer: 'https://a', resource_uri: 'https://b', audience: }}",
         "auth.oidc.audience", "is empty"),
        ("audit: {retention_days: 0}", "audit.retention_days", "greater than or equal to 1"),
    ],
)  # fmt: skip
def test_a_mistake_is_said_once_at_its_path_in_words_that_say_what_to_do(
    tmp_path: Path, text: str, path: str, words: str
):
    found = mistakes(tmp_path, text)
    assert [(where.replace('"', ""), line) for where, line, _ in found] == [(path, 1)], found
    assert words in found[0][2]


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "---\n"])
def test_an_empty_file_is_refused_because_a_cut_off_one_must_not_mean_no_authentication(tmp_path: Path, text: str):
    assert [message.partition(";")[0] for _, _, message in mistakes(tmp_path, text)] == ["is empty"]


@pytest.mark.parametrize(("name", "words"), [("absent.yaml", "cannot be read: No such file"), (".", "cannot be read")])
def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path, name: str, words: str):
    with pytest.raises(ConfigError, match=f"^{tmp_path / name}: {words}"):
        load(tmp_path / name)


def test_a_list_is_no_configuration(tmp_path: Path):
    assert mistakes(tmp_path, "- a\n")[0][2].startswith("must be a mapping")


def test_a_rule_says_nothing_of_values_that_are_mistakes_themselves(tmp_path: Path):
    """Otherwise a misspelt auth.enabled would also be told to set auth.enabled."""
    text = "tool_access: {mode: front_door}\nauth: {enabeld: true}\n"
    assert [path for path, _, _ in mistakes(tmp_path, text)] == ["auth.enabeld"]


@pytest.mark.parametrize("path", [(), ("auth",), ("auth", "oidc"), ("server",), ("tool_access",), ("auth", "api_key")])
def test_no_misspelt_key_is_ever_taken_for_absent(tmp_path: Path, path: tuple[str, ...]):
    """A30: a typo that disables authentication refuses to start."""
    chance = random.Random(30)
    for *parents, key in ((*path, key) for key in known_keys(Config, path)):
        at = chance.randrange(len(key))
        for typo in (key + key[-1], key[:at] + key[at + 1 :], key.upper(), key + " ", key.replace("_", "-")):
            if typo not in known_keys(Config, path) and typo:
                text = "".join(f"{'  ' * depth}{step}:\n" for depth, step in enumerate(parents))
                found = mistakes(tmp_path, text + f"{'  ' * len(parents)}'{typo}': true\n")
                assert any("unknown key" in message for _, _, message in found), typo


def test_the_recipe_loads_as_it_stands_and_without_a_warning(tmp_path: Path):
    recipe = loaded(tmp_path, RECIPE.read_text())
    payments = recipe.config.mcp_servers["payments"]
    assert recipe.warnings == ()
    assert payments.tool_access.member["tenant:a"].deny_list == ("refund",)
    assert payments.tool_access.member["tenant:b"].allow_list == ("charge", "refund")
    assert payments.tool_projection.withdrawn == ("legacy_charge",)
    assert payments.tool_projection.tenant_overrides["tenant:a"].withdrawn == ("beta_tool",)
    assert recipe.config.auth.oidc.audience == "mcp-hangar"


PATHS = st.sampled_from(sorted(all_keys(Config), key=str))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=6),
    st.text("a*/:$ {}[]@#?%.-_", max_size=12),
    st.sampled_from(["front_door", "p/t", "http://[", "http://a:b", "10.0.0.0/99", "${env:A}", "${file:/}", "::/0"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab*/:", max_size=3), inner, max_size=3),
    max_leaves=6,
)


def nested(entries: list[tuple[tuple[str, ...], object]]) -> dict[str, object]:
    """Put each value at its path, an entry of a map under some name, one of a list alone in it."""
    root: dict[str, object] = {}
    for path, value in entries:
        at: dict[str, object] = root
        for step, following in itertools.pairwise((*path, None)):
            name = "payments" if step == "<id>" else step
            if following is None:
                at[name] = value
            elif following == "<number>":
                inner: dict[str, object] = {}
                at[name] = [inner]
                at = inner
            elif step != "<number>":
                fresh = at.get(name)
                at[name] = fresh if isinstance(fresh, dict) else {}
                at = at[name]
    return root


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.sampled_from([(TenantsFile, "tenants.yaml"), (Catalog, "catalogs/team-a.yaml")]))
def test_whatever_stands_in_tenants_yaml_or_a_catalog_it_loads_or_every_mistake_is_said(
    tmp_path: Path, data: st.DataObject, form: tuple[type, str]
):
    root, name = form
    paths = st.sampled_from(sorted(all_keys(root), key=str))
    entries = data.draw(st.lists(st.tuples(paths, VALUES), max_size=5))
    teams = Teams(tmp_path)
    teams.write(json.dumps(nested(entries)), name)
    found = teams.mistakes()
    assert all(message for *_, message in found)
    # Of a catalog no mistake refuses anything but itself.
    if teams.loaded or name != "tenants.yaml":
        assert teams.load().hash == teams.load().hash == teams.reload().hash


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(PATHS, VALUES), max_size=5))
def test_whatever_stands_in_a_file_it_loads_or_every_mistake_is_said(
    tmp_path: Path, entries: list[tuple[tuple[str, ...], object]]
):
    text = json.dumps(nested(entries) or {"auth": {}})  # JSON is YAML
    found = mistakes(tmp_path, text)
    assert all(message for _, _, message in found)
    if not found:
        assert loaded(tmp_path, text).hash == loaded(tmp_path, text).hash
