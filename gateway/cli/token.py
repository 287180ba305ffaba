"""`portcullis token`: tenant tokens for clients that cannot log in, on the ledger or by a running gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gateway.cli.common import moment
from gateway.cli.office import Office, in_the_office

if TYPE_CHECKING:
    from typing import Any

COLUMNS = ("id", "token", "tenant", "role", "tools", "name", "by", "created", "expires", "last used", "state")


@click.group()
def token() -> None:
    """Tenant tokens: mint, list, revoke."""


@token.command()
@in_the_office
@click.option("--tenant", help="The tenant that it belongs to; with --server one's own is the default.")
@click.option("--name", required=True, help="What it is for, such as 'Claude Desktop'.")
@click.option("--tool", "tools", multiple=True, help="All that it sees, as a glob over ids (payments/*); repeatable.")
@click.option("--expires-in-days", type=int, help="Without it 90.")
def mint(office: Office, tenant: str | None, name: str, tools: tuple[str, ...], expires_in_days: int | None) -> None:
    """Mint a token and print it, once; only its SHA-256 is kept."""
    body = {"tenant_id": tenant, "name": name, "tools": list(tools) or None, "expires_in_days": expires_in_days}
    made = office.do("mintToken", body)
    office.say(made["token"], made)
    if not office.as_json:
        what = f"{made['role']} in tenant {made['tenant_id']}"
        text = f"{made['id']}: {what}, until {moment(made['expires_at'])}; the token is not shown again"
        click.echo(text, err=True)


@token.command("list")
@in_the_office
@click.option("--tenant", help="Only those of this tenant.")
def list_(office: Office, tenant: str | None) -> None:
    """List tokens, revoked and expired ones included; never a secret."""
    found = office.all("listTokens", "tokens", {"tenant_id": tenant})
    office.show(COLUMNS, map(_row, found), found, empty="no tokens; mint one with portcullis token mint")


@token.command()
@in_the_office
@click.argument("credential_id", metavar="ID")
def revoke(office: Office, credential_id: str) -> None:
    """Revoke a token by its id. A running gateway refuses it within a second."""
    told = office.do("revokeToken", at={"id": credential_id})
    office.say(f"revoked {credential_id} ({told['revision']})", told)


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    times = (moment(one[name]) for name in ("created_at", "expires_at", "last_used_at"))
    tools = ", ".join(one["tools"]) or "all"
    named = (one["tenant_id"], one["role"], tools, one["name"], one["created_by"])
    return (one["id"], one["prefix"] + "…", *named, *times, one["state"])
