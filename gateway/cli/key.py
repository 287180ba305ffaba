"""`portcullis key`: API keys, straight in the ledger, whether or not a gateway runs."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from gateway import keys
from gateway.audit import DAY_MS, event, now_ms
from gateway.cli.common import (
    installation_options,
    json_option,
    ledger_of,
    moment,
    operator,
    print_json,
    print_table,
    run,
    unheard,
    warn,
)
from gateway.config import known_tenants
from gateway.config.values import PRINCIPAL, ROLES
from gateway.errors import NotFound
from gateway.model import TENANT_ID, Credential

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config import Loaded


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
@installation_options
@click.option("--principal", required=True, callback=_principal, help="Whom the key speaks for: user:… or service:….")
@click.option("--role", type=click.Choice(ROLES), help="A role of the key's own, at its tenant or else everywhere.")
@click.option("--tenant", callback=_tenant, help="The tenant that the key belongs to; without it, none.")
@click.option("--name", default="", help="What the key is for.")
@click.option("--expires-in-days", type=click.IntRange(1, 3650), default=90, show_default=True)
@json_option
def create(
    config_path: Path,
    state_dir: Path | None,
    principal: str,
    role: str | None,
    tenant: str | None,
    name: str,
    expires_in_days: int,
    as_json: bool,
) -> None:
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
    run(_store(config_path, state_dir, credential))
    if as_json:
        print_json({"key": secret, **public(credential)})
    else:
        click.echo(secret)
        _explain(credential)


async def _store(config_path: Path, state_dir: Path | None, credential: Credential) -> None:
    async with ledger_of(config_path, state_dir) as (ledger, loaded):
        if loaded:
            _caution(loaded, credential)
        for text in await unheard(ledger):
            warn(text)
        target = {"kind": "key", "id": credential.id, "principal": credential.principal, "role": credential.role}
        made = event("KeyCreated", "success", tenant=credential.tenant, actor=operator(), target=target)
        await ledger.add_credential(credential, made)


def _caution(loaded: Loaded, credential: Credential) -> None:
    auth = loaded.config.auth
    if not auth.enabled:
        warn("auth.enabled is false: keys are ignored until it is true")
    elif not auth.api_key.enabled:
        warn("auth.api_key.enabled is false: keys are refused until it is true")
    if credential.tenant and credential.tenant not in known_tenants(loaded.config):
        warn(f"no member entry knows the tenant {credential.tenant}, so it is shown nothing")


def _explain(credential: Credential) -> None:
    where = f"in tenant {credential.tenant}" if credential.tenant else "everywhere"
    role = f"{credential.role} {where}" if credential.role else "no role of its own"
    text = f"{credential.id}: {credential.principal}, {role}, until {moment(credential.expires_at)}"
    click.echo(f"{text}; the key is not shown again", err=True)


@key.command("list")
@installation_options
@json_option
def list_(config_path: Path, state_dir: Path | None, as_json: bool) -> None:
    """List keys, revoked and expired ones included; never a secret."""
    found = run(_credentials(config_path, state_dir))
    if as_json:
        print_json([public(one) for one in found])
        return
    columns = ("id", "key", "principal", "role", "tenant", "name", "created", "expires", "state")
    print_table(columns, [_row(one) for one in found], empty="no keys; make one with portcullis key create")


async def _credentials(config_path: Path, state_dir: Path | None) -> tuple[Credential, ...]:
    async with ledger_of(config_path, state_dir) as (ledger, _):
        return await ledger.credentials()


@key.command()
@installation_options
@json_option
@click.argument("credential_id", metavar="ID")
def revoke(config_path: Path, state_dir: Path | None, as_json: bool, credential_id: str) -> None:
    """Revoke a key by its id. A running gateway refuses it within a second."""
    revision = run(_revoke(config_path, state_dir, credential_id))
    if as_json:
        print_json({"revoked": True, "id": credential_id, "revision": revision})
    else:
        click.echo(f"revoked {credential_id} (r{revision})")


async def _revoke(config_path: Path, state_dir: Path | None, credential_id: str) -> int:
    async with ledger_of(config_path, state_dir) as (ledger, _):
        actor = operator()
        target = {"kind": "key", "id": credential_id}
        done = event("KeyRevoked", "success", actor=actor, target=target)
        revision = await ledger.revoke_credential(credential_id, actor["principal"], now_ms(), done)
    if revision is None:
        raise NotFound(f"there is no live key {credential_id}; see portcullis key list")
    return revision


@key.command("hash")
def hash_() -> None:
    """Read a key on stdin and print its SHA-256. It is not taken as an argument, which other users could see."""
    secret = sys.stdin.readline().rstrip("\r\n")
    if not secret:
        raise click.UsageError("pass the key on stdin: portcullis key hash < file")
    if secret.startswith(keys.PREFIX) and not keys.looks_like_key(secret):
        raise click.ClickException("that begins like a key of this gateway, and its checksum is wrong: mistyped or cut")
    click.echo(f"sha256:{keys.sha256(secret)}")


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
