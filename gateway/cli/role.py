"""`portcullis role`: who has which role, and what somebody may do; on the ledger or by a running gateway."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from gateway.administration.terms import scope_of
from gateway.cli.common import moment, print_json, together
from gateway.cli.office import Office, in_the_office

if TYPE_CHECKING:
    from typing import Any

COLUMNS = ("principal", "role", "scope", "issuer", "given by", "at")


@click.group()
def role() -> None:
    """Roles: list, assign, revoke, check, whoami."""


assignment_options = together(
    click.argument("principal"),
    click.argument("name", metavar="ROLE"),
    in_the_office,
    click.option("--tenant", help="At this tenant; without it, everywhere."),
    click.option("--issuer", help="Whose user or group it is, where several issuers are trusted."),
)


@role.command("list")
@in_the_office
@click.option("--tenant", help="Only assignments at this tenant.")
@click.option("--principal", help="Only what this principal has.")
def list_(office: Office, tenant: str | None, principal: str | None) -> None:
    """List who has which role where, by configuration and at runtime."""
    found = office.all("listRoles", "assignments", {"tenant_id": tenant, "principal": principal})
    office.show(COLUMNS, map(_row, found), found, empty="nobody has a role but by a key of its own, or the default one")


@role.command()
@assignment_options
def assign(office: Office, principal: str, name: str, tenant: str | None, issuer: str | None) -> None:
    """Give a role to a principal: user:…, service:… or group:…."""
    told = office.do("assignRole", _assignment(principal, name, tenant, issuer))
    office.say(f"{principal} is {name} at {told['scope']} as {told['revision']}", told)


@role.command()
@assignment_options
def revoke(office: Office, principal: str, name: str, tenant: str | None, issuer: str | None) -> None:
    """Take a role away that was given at runtime; nobody falls back to the default role by that."""
    told = office.do("revokeRole", _assignment(principal, name, tenant, issuer))
    office.say(f"{principal} is no {name} at {told['scope']} any more, as {told['revision']}", told)


@role.command()
@click.argument("principal")
@click.argument("action")
@in_the_office
@click.option("--tenant", help="The tenant of the principal.")
@click.option("--group", "groups", multiple=True, help="A group of the principal; may be repeated.")
@click.option("--issuer", help="Whose user it is, where several issuers are trusted.")
@click.option("--role", "own", help="The role of the key that the principal would present.")
@click.option("--name", help="The tool or prompt by the name that agents use, or the URI of the resource.")
@click.option("--arguments", help="The arguments of the call, as a JSON object.")
def check(
    office: Office,
    principal: str,
    action: str,
    tenant: str | None,
    groups: tuple[str, ...],
    issuer: str | None,
    own: str | None,
    name: str | None,
    arguments: str | None,
) -> None:
    """Say whether a principal may do something (tools/call, keys:write, …), and which layer says no. Status 1 if so."""
    body = {"principal": principal, "action": action, "tenant_id": tenant, "groups": list(groups) or None}
    more = {"issuer": issuer, "role": own, "name": name, "arguments": _object(arguments)}
    found = office.do("check", {**body, **more})
    office.say(_verdict(found), found)
    if not found["allow"]:
        raise click.exceptions.Exit(1)


@role.command()
@in_the_office
def whoami(office: Office) -> None:
    """Say who the key in --key-file is at --server, and what it may do there."""
    if office.server is None:
        raise click.UsageError("name the --server, and the --key-file that it is asked with")
    print_json(office.do("whoami"))


def _assignment(principal: str, name: str, tenant: str | None, issuer: str | None) -> dict[str, Any]:
    return {"principal": principal, "role": name, "scope": scope_of(tenant), "issuer": issuer}


def _object(text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"--arguments is not JSON: {error}") from error


def _verdict(found: dict[str, Any]) -> str:
    if found["allow"]:
        return "yes"
    reasons = ", ".join(sorted({one["code"] for one in found["reasons"]}))
    return f"no: {found['layer']} says {reasons}"


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    given = (one["by"] or one["origin"], moment(one["at"]))
    return (one["principal"], one["role"], one["scope"], one["issuer"] or "-", *given)
