"""Headers and variables that servers are given: typed when they are read, filled from the verified caller alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.headers import CallerUnnamed, Template, filled, header_value
from gateway.config.references import Claim, Context
from gateway.config.values import Secret
from gateway.model import ANONYMOUS, CredentialKind, Principal
from tests.support.files import loaded, mistakes

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config.servers import Server

ENVIRON = {"KEY": "s3cret", "A_KEY": "of a", "BROKEN": "a\nb", "TEAM": "blue"}
SERVER = "mcp_servers: {{p: {{mode: remote, endpoint: 'http://localhost/mcp', {0}}}}}"
STDIO = "mcp_servers: {{p: {{mode: stdio, command: [server], {0}}}}}"


def caller(subject: str = "user:jo", tenant: str | None = "tenant:a") -> Principal:
    return Principal(subject=subject, kind=CredentialKind.JWT, tenant=tenant)


def server(folder: Path, text: str) -> Server:
    return loaded(folder, text, **ENVIRON).config.mcp_servers["p"]


def test_a_template_is_parsed_once_into_literals_secrets_and_claims(tmp_path: Path):
    header = header_value("Bearer ${env:KEY};${tenant}/${principal}!", Context(tmp_path, ENVIRON))
    assert isinstance(header, Template)
    assert header.parts == ("Bearer ", Secret("${env:KEY}", "s3cret"), ";", Claim.TENANT, "/", Claim.PRINCIPAL, "!")
    assert header.fill(caller()) == "Bearer s3cret;tenant:a/user:jo!"
    assert "s3cret" not in f"{header!r} {header}"


@pytest.mark.parametrize(
    ("text", "kind"),
    [("plain", str), ("", str), ("${env:KEY}", Secret), ("a${env:KEY}b", Secret), ("${tenant}", Template)],
)
def test_what_is_constant_stays_constant(tmp_path: Path, text: str, kind: type):
    assert type(header_value(text, Context(tmp_path, ENVIRON))) is kind


def test_every_header_is_filled_for_the_caller_and_those_that_name_one_are_left_out_of_the_gateway_s_own_errands(
    tmp_path: Path,
):
    text = SERVER.format("headers: {X-Team: '${env:TEAM}', X-Plain: a, X-Tenant: '${tenant}', X-Who: '${principal}'}")
    headers = server(tmp_path, text).headers
    whole = {"X-Team": "blue", "X-Plain": "a", "X-Tenant": "tenant:a", "X-Who": "user:jo"}
    assert filled(headers, caller()) == whole
    assert filled(headers, None) == {"X-Team": "blue", "X-Plain": "a"}


def test_a_caller_without_a_tenant_is_not_sent_to_a_server_that_wants_to_know_it(tmp_path: Path):
    headers = server(tmp_path, SERVER.format("headers: {X-Tenant: '${tenant}'}")).headers
    with pytest.raises(CallerUnnamed):
        filled(headers, caller(tenant=None))
    assert filled(server(tmp_path, SERVER.format("headers: {X: '${principal}'}")).headers, ANONYMOUS) == {
        "X": "anonymous"
    }


@pytest.mark.parametrize(
    ("subject", "sent"),
    [
        ("user:jo@example.com", "user:jo@example.com"),
        ("service:team-a/ci", "service:team-a/ci"),
        ("user:Jörg Ø", "user:J%C3%B6rg%20%C3%98"),
        ("user:a\r\nX-Admin: yes", "user:a%0D%0AX-Admin:%20yes"),
        ('user:a";b,c%41', "user:a%22%3Bb%2Cc%2541"),
        ("user:\x00\x7f\u202e", "user:%00%7F%E2%80%AE"),
    ],
)
def test_a_principal_is_percent_encoded_so_that_no_name_can_end_a_header(tmp_path: Path, subject: str, sent: str):
    headers = server(tmp_path, SERVER.format("headers: {X-Who: '${principal}'}")).headers
    assert filled(headers, caller(subject)) == {"X-Who": sent}


@given(st.text())
def test_no_principal_whatever_makes_a_header_that_is_more_than_one_value(subject: str):
    template = Template("${principal}", (Claim.PRINCIPAL,))
    assert not set(template.fill(caller(subject.encode(errors="ignore").decode()))) & set("\r\n\0 ,;\"'=")


def test_a_member_entry_s_headers_win_for_its_tenant_whatever_their_case(tmp_path: Path):
    member = "a: {headers: {authorization: 'Bearer ${env:A_KEY}', X-Of: '${tenant}'}}, '*': {headers: {X-Of: all}}"
    text = SERVER.format(f"headers: {{Authorization: 'Bearer ${{env:KEY}}'}}, tool_access: {{member: {{{member}}}}}")
    found = server(tmp_path, text)
    assert filled(found.headers_for("a"), caller(tenant="a")) == {"authorization": "Bearer of a", "X-Of": "a"}
    assert filled(found.headers_for("b"), caller(tenant="b")) == {"Authorization": "Bearer s3cret", "X-Of": "all"}
    assert filled(found.headers_for(None), None) == {"Authorization": "Bearer s3cret"}


def test_what_depends_on_the_caller_is_told_apart_from_what_goes_with_every_request(tmp_path: Path):
    member = "a: {headers: {X-Of: a, Plan: basic}}, b: {}, '*': {headers: {X-Of: all}}"
    text = "headers: {{Plan: basic, X-Of: nobody, X-Who: '${{principal}}'}}, tool_access: {{member: {{{}}}}}"
    naming = server(tmp_path, SERVER.format(text.format(member))).naming
    assert naming.of(caller(tenant="a")) == {"X-Who": "user:jo", "X-Of": "a"}
    # An entry without headers is one of its own, too.
    assert naming.of(caller(tenant="b")) == {"X-Who": "user:jo"}
    assert naming.of(caller(tenant="c")) == {"X-Who": "user:jo", "X-Of": "all"}
    assert naming.of(caller(tenant=None)) == {"X-Who": "user:jo"}
    # Whoever acts for a tenant is told of as that tenant's.
    assert naming.of(replace(caller(tenant=None), acting_for="a")) == {"X-Who": "user:jo", "X-Of": "a"}
    constant = server(tmp_path, SERVER.format("headers: {X: a}, tool_access: {member: {a: {}}}")).naming
    assert (constant.of(caller()), constant.members) == ({}, {})


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        (SERVER.format("headers: {X: '${env:BROKEN}'}"), "headers.X", "a line break or another character"),
        (SERVER.format("headers: {X: '${env:BROKEN}${tenant}'}"), "headers.X", "a line break or another character"),
        (SERVER.format("headers: {X: '${Tenant}'}"), "headers.X", "write ${env:NAME}, ${file:"),
        (SERVER.format("headers: {X: '${tenant'}"), "headers.X", "not closed"),
        (SERVER.format("headers: {X: '${tenant}', x: b}"), "headers.x", "twice"),
        (SERVER.format("description: '${tenant}'"), "description", "only in the headers"),
        (SERVER.format("tool_access: {member: {a: {headers: {Host: x}}}}"), "tool_access.member.a.headers.Host", "set"),
        (SERVER.format("tool_access: {member: {a: {headers: {X-Token: x}}}}"),
         "tool_access.member.a.headers.X-Token", "holds a secret in the open"),
        (STDIO.format("env: {API_KEY: abc}"), "env.API_KEY", "holds a secret in the open"),
        (STDIO.format("env: {A: '${principal}'}"), "env.A", "${principal} is not known here"),
        (STDIO.format("env: {A=B: x}"), "env.A=B", "the name of an environment variable"),
        (STDIO.format("headers: {X: a}"), "headers", "belongs to mode: remote"),
        (STDIO.format("endpoint: 'http://x'"), "endpoint", "belongs to mode: remote"),
        (STDIO.format("tool_access: {member: {a: {headers: {X: a}}}}"), "tool_access.member.a.headers", "a process is"),
        (STDIO.format("").replace("[server]", "['${env:KEY}']"), "command[0]", "${…} is read only"),
        (STDIO.format("").replace("command: [server]", "description: a"), "command", "is missing; add command: …"),
        (SERVER.format("command: [x]"), "command", "belongs to mode: stdio"),
        (SERVER.format("env: {A: b}"), "env", "belongs to mode: stdio"),
        (SERVER.format("cwd: /tmp"), "cwd", "belongs to mode: stdio"),
    ],
)  # fmt: skip
def test_what_a_header_or_variable_may_not_be_is_refused_when_it_is_read(
    tmp_path: Path, text: str, path: str, words: str
):
    found = [one for one in mistakes(tmp_path, text, **ENVIRON) if one[0] == f"mcp_servers.p.{path}"]
    assert found, mistakes(tmp_path, text, **ENVIRON)
    assert words in found[0][2]


def test_a_process_is_told_its_tenant_and_its_secrets_by_variables_and_runs_in_its_file_s_folder(tmp_path: Path):
    found = server(tmp_path, STDIO.format("env: {TENANT: '${tenant}', API_KEY: '${env:KEY}', MOTTO: 'a\\tb'}"))
    assert filled(found.env, caller()) == {"TENANT": "tenant:a", "API_KEY": "s3cret", "MOTTO": "a\\tb"}
    assert (found.command, found.cwd) == (("server",), tmp_path)
