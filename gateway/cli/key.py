"""`portcullis key`: API keys, straight in the ledger, whether or not a gateway runs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from gateway import keys
from gateway.audit import DAY_MS, event, now_ms
from gateway.cli.common import key_on_stdin, moment, operator
from gateway.cli.desk import Desk, at_the_desk, caution
from gateway.config import Config, global_admins, known_tenants
from gateway.config.values import PRINCIPAL
from gateway.errors import NotFound
from gateway.ids import TENANT_ID
from gateway.ledger.values import Admins
from gateway.model import Credential
from gateway.permissions import BUILT_IN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.config import Loaded
    from gateway.ledger import Ledger


@click.group()
def key() -> None:
    """API keys: create, list, revoke, hash."""


def _principal(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not PRINCIPAL.fullmatch(value) or value.startswith("group:"):
        raise click.BadParameter("must be user:<name> or service:<name>, without blanks")
    return value


def _tenant(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not TENANT_ID.fullmatch(value):
        raise click.BadParameter('must be a tenant id: 1 to 128 of A-Z a-z 0-9 . _ : -, no "_" first')
    return value


@key.command()
@at_the_desk
@click.option("--principal", required=True, callback=_principal, help="Whom the key speaks for: user:… or service:….")
@click.option(
    "--role", type=click.Choice(tuple(BUILT_IN)), help="A role of the key's own, at its tenant or else everywhere."
)
@click.option("--tenant", callback=_tenant, help="The tenant that the key belongs to; without it, none.")
@click.option("--name", default="", help="What the key is for.")
@click.option("--expires-in-days", type=click.IntRange(1, 3650), default=90, show_default=True)
def create(desk: Desk, principal: str, role: str | None, tenant: str | None, name: str, expires_in_days: int) -> None:
    """Make a key and print it, once; only its SHA-256 is kept.

    A running gateway honours it within a second.
    """
    secret, now = keys.mint(), now_ms()
    credential = Credential(
        id=keys.new_id(),
        hash=keys.sha256(secret),
        prefix=keys.shown(secret),
        principal=principal,
        name=name,
        role=role,
        tenant=tenant,
        created_at=now,
        created_by=operator()["principal"],
        expires_at=now + expires_in_days * DAY_MS,
    )
    desk.work(lambda ledger, loaded: _store(ledger, loaded, credential))
    desk.say(secret, {"key": secret, **public(credential)})
    if not desk.as_json:
        _explain(credential)


async def _store(ledger: Ledger, loaded: Loaded | None, credential: Credential) -> None:
    await caution(ledger, *(_cautions(loaded, credential) if loaded else ()))
    target = {"kind": "key", "id": credential.id, "principal": credential.principal, "role": credential.role}
    made = event("KeyCreated", "success", tenant=credential.tenant, actor=operator(), target=target)
    await ledger.add_credential(credential, made)


def _cautions(loaded: Loaded, credential: Credential) -> Iterator[str]:
    auth = loaded.config.auth
    if not auth.enabled:
        yield "auth.enabled is false: keys are ignored until it is true"
    elif not auth.api_key.enabled:
        yield "auth.api_key.enabled is false: keys are refused until it is true"
    if credential.tenant and credential.tenant not in known_tenants(loaded.config):
        yield f"no member entry knows the tenant {credential.tenant}, so it is shown nothing"


def _explain(credential: Credential) -> None:
    where = f"in tenant {credential.tenant}" if credential.tenant else "everywhere"
    role = f"{credential.role} {where}" if credential.role else "no role of its own"
    text = f"{credential.id}: {credential.principal}, {role}, until {moment(credential.expires_at)}"
    click.echo(f"{text}; the key is not shown again", err=True)


@key.command("list")
@at_the_desk
def list_(desk: Desk) -> None:
    """List keys, revoked and expired ones included; never a secret."""
    found = desk.look(lambda ledger: ledger.credentials())
    columns = ("id", "key", "principal", "role", "tenant", "name", "created", "expires", "state")
    desk.show(columns, map(_row, found), map(public, found), empty="no keys; make one with portcullis key create")


@key.command()
@at_the_desk
@click.argument("credential_id", metavar="ID")
def revoke(desk: Desk, credential_id: str) -> None:
    """Revoke a key by its id. A running gateway refuses it within a second."""
    revision = desk.work(lambda ledger, loaded: _revoke(ledger, loaded, credential_id))
    document = {"revoked": True, "id": credential_id, "revision": revision}
    desk.say(f"revoked {credential_id} (r{revision})", document)


async def _revoke(ledger: Ledger, loaded: Loaded | None, credential_id: str) -> int:
    actor = operator()
    target = {"kind": "key", "id": credential_id}
    done = event("KeyRevoked", "success", actor=actor, target=target)
    config = loaded.config if loaded else Config()
    admins = Admins(global_admins(config), config.auth.admin_roles)
    revision = await ledger.revoke_credential(credential_id, actor["principal"], now_ms(), done, admins=admins)
    if revision is None:
        raise NotFound(f"there is no live key {credential_id}; see portcullis key list")
    return revision


@key.command("hash")
def hash_() -> None:
    """Read a key on stdin and print its SHA-256. It is not taken as an argument, which other users could see."""
    click.echo(f"sha256:{keys.sha256(key_on_stdin())}")


def public(credential: Credential) -> dict[str, Any]:
    """Return what may be shown of a key: everything but its hash."""
    shown = asdict(credential)
    del shown["hash"]
    return shown


def _row(one: Credential) -> tuple[str, ...]:
    role, tenant = one.role or "-", one.tenant or "-"
    return (
        *(one.id, one.prefix + "…", one.principal, role, tenant, one.name),
        *(moment(one.created_at), moment(one.expires_at), _state(one)),
    )


def _state(one: Credential) -> str:
    if one.revoked_at is not None:
        return "revoked"
    return "expired" if one.expires_at is not None and one.expires_at <= now_ms() else "live"
