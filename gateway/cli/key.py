"""`portcullis key`: API keys, on the ledger whether or not a gateway runs, or by the API of one that does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gateway import keys
from gateway.cli.common import key_on_stdin, moment, warn
from gateway.cli.office import Office, in_the_office
from gateway.config import known_tenants, load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.config import Config

COLUMNS = ("id", "key", "principal", "role", "tenant", "name", "created", "expires", "last used", "state")


@click.group()
def key() -> None:
    """API keys: create, list, rotate, revoke, hash."""


@key.command()
@in_the_office
@click.option("--principal", required=True, help="Whom the key speaks for: user:… or service:….")
@click.option("--role", help="A role of the key's own, at its tenant or else everywhere.")
@click.option("--tenant", help="The tenant that the key belongs to; without it, none.")
@click.option("--name", default="command line", help="What the key is for.")
@click.option(
    "--expires-in-days",
    type=int,
    help="Without it 90; 0 for ever, where auth.api_key.allow_non_expiring is true.",
)
def create(
    office: Office, principal: str, role: str | None, tenant: str | None, name: str, expires_in_days: int | None
) -> None:
    """Make a key and print it, once; only its SHA-256 is kept.

    A running gateway honours it within a second.
    """
    body = {"principal": principal, "name": name, "role": role, "expires_in_days": expires_in_days}
    made = office.do("createKey", {**body, "tenant_id": tenant})
    for text in _cautions(office, tenant):
        warn(text)
    _print_secret(office, made)


@key.command("list")
@in_the_office
@click.option("--tenant", help="Only those of this tenant.")
def list_(office: Office, tenant: str | None) -> None:
    """List keys, revoked and expired ones included; never a secret."""
    found = office.all("listKeys", "keys", {"tenant_id": tenant})
    office.show(COLUMNS, map(_row, found), found, empty="no keys; make one with portcullis key create")


@key.command()
@in_the_office
@click.argument("credential_id", metavar="ID")
def revoke(office: Office, credential_id: str) -> None:
    """Revoke a key by its id. A running gateway refuses it within a second."""
    told = office.do("revokeKey", at={"id": credential_id})
    office.say(f"revoked {credential_id} ({told['revision']})", told)


@key.command()
@in_the_office
@click.argument("credential_id", metavar="ID")
@click.option("--overlap-seconds", type=int, default=3600, show_default=True, help="How long both are good.")
def rotate(office: Office, credential_id: str, overlap_seconds: int) -> None:
    """Make the successor of a key and print it, once; the old one ends after the overlap."""
    _print_secret(office, office.do("rotateKey", {"overlap_seconds": overlap_seconds}, at={"id": credential_id}))


@key.command("hash")
def hash_() -> None:
    """Read a key on stdin and print its SHA-256. It is not taken as an argument, which other users could see."""
    click.echo(f"sha256:{keys.sha256(key_on_stdin())}")


def _print_secret(office: Office, made: dict[str, Any]) -> None:
    office.say(made["key"], made)
    if not office.as_json:
        where = f"in tenant {made['tenant_id']}" if made["tenant_id"] else "everywhere"
        role = f"{made['role']} {where}" if made["role"] else "no role of its own"
        text = f"{made['id']}: {made['principal']}, {role}, until {moment(made['expires_at'])}"
        click.echo(f"{text}; the key is not shown again", err=True)


def _cautions(office: Office, tenant: str | None) -> Iterator[str]:
    if office.server is None and office.config_path.config.exists():
        yield from _about(load(office.config_path).config, tenant)


def _about(config: Config, tenant: str | None) -> Iterator[str]:
    if not config.auth.enabled:
        yield "auth.enabled is false: keys are ignored until it is true"
    elif not config.auth.api_key.enabled:
        yield "auth.api_key.enabled is false: keys are refused until it is true"
    if tenant and tenant not in known_tenants(config):
        yield f"no member entry knows the tenant {tenant}, so it is shown nothing"


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    times = (moment(one[name]) for name in ("created_at", "expires_at", "last_used_at"))
    named = (one["principal"], one["role"] or "-", one["tenant_id"] or "-", one["name"])
    return (one["id"], one["prefix"] + "…", *named, *times, one["state"])
