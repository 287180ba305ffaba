"""`portcullis tenant`: who the tenants are and what each is offered, by the files; and hashes of their keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gateway import keys
from gateway.cli.common import config_option, json_option, key_on_stdin, plain, print_json, print_table
from gateway.config import Membership, load
from gateway.config.tenants import HASH_PREFIX
from gateway.errors import NotFound
from gateway.ids import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config import Loaded, Source
    from gateway.config.servers import Backend, MemberEntry
    from gateway.config.standing import KeptBack
    from gateway.config.tenants import Offer, Tenant

# Shorter ones can be guessed from their hash, which lies in a file.
LONG_ENOUGH = 32


@click.group()
def tenant() -> None:
    """Tenants: list, show, hashes of their keys."""


@tenant.command("list")
@config_option
@json_option
def list_(config_path: Source, as_json: bool) -> None:
    """List the tenants: those of tenants.yaml, and those that only member entries name."""
    loaded = load(config_path)
    members = Membership(loaded.config)
    rows = [_summary(loaded, members, id_) for id_ in sorted(members.known)]
    if as_json:
        print_json(rows)
        return
    columns = ("tenant", "name", "namespace", "state", "servers", "own", "keys")
    shown = [tuple("-" if row[name] in (None, "") else str(row[name]) for name in COLUMNS) for row in rows]
    print_table(columns, shown, empty="no tenants; define them in tenants.yaml, or name them in member entries")


COLUMNS = ("id", "display_name", "namespace", "state", "servers", "own_servers", "keys")


def _summary(loaded: Loaded, members: Membership, id_: str) -> dict[str, Any]:
    defined = members.tenant(id_)
    return {
        "id": id_,
        "display_name": defined.display_name if defined else "",
        "namespace": defined.namespace if defined else None,
        "state": _state(defined, _kept_back(loaded).get(id_)),
        "servers": len(members.offered(id_)),
        "own_servers": len(members.own(id_)),
        "keys": len(defined.api_keys) if defined else 0,
    }


def _kept_back(loaded: Loaded) -> Mapping[str, KeptBack]:
    return {one.tenant: one for one in loaded.kept_back}


def _state(defined: Tenant | None, kept_back: KeptBack | None) -> str:
    if kept_back is not None:
        return "suspended: mistakes"
    return "active" if defined is None or defined.active else "suspended"


@tenant.command()
@config_option
@json_option
@click.argument("tenant_id", metavar="ID")
def show(config_path: Source, as_json: bool, tenant_id: str) -> None:
    """Show one tenant: what it is offered and by which lists, what it brings along, its quotas and its mistakes."""
    loaded = load(config_path)
    members = Membership(loaded.config)
    if tenant_id not in members.known:
        raise NotFound(f"there is no tenant {tenant_id}; see portcullis tenant list")
    found = _whole(loaded, members, tenant_id)
    if as_json:
        print_json(found)
    else:
        _print(found)


def _whole(loaded: Loaded, members: Membership, id_: str) -> dict[str, Any]:
    defined, kept_back = members.tenant(id_), _kept_back(loaded).get(id_)
    quotas = defined.quotas if defined else None
    return _summary(loaded, members, id_) | {
        "catalog_file": defined.catalog_file if defined else None,
        "keys": [{"name": key.name, "key_hash": key.key_hash} for key in defined.api_keys] if defined else [],
        "quotas": {
            "max_servers": quotas.max_servers if quotas else None,
            "max_concurrent_requests": quotas.max_concurrent_requests if quotas else None,
            "requests_per_minute": quotas.requests_per_minute if quotas else None,
        },
        "servers": {server: _lists(entries) for server, entries in sorted(members.offered(id_).items())},
        "own_servers": {server: _where(own) for server, own in sorted(members.own(id_).items())},
        "mistakes": [str(mistake) for mistake in kept_back.mistakes] if kept_back else [],
    }


def _lists(entries: tuple[MemberEntry | Offer, ...]) -> list[dict[str, Any]]:
    """Return the lists that narrow a server for a tenant, those of each entry by kind; empty ones are left out."""
    found = []
    for entry in entries:
        of_kind = {kind.value: entry.lists(kind) for kind in Kind}
        given = {
            kind: {"allow_list": list(lists.allow_list), "deny_list": list(lists.deny_list)}
            for kind, lists in of_kind.items()
            if lists.allow_list or lists.deny_list
        }
        found.append(given)
    return [given for given in found if given]


def _where(own: Backend) -> dict[str, Any]:
    return {"mode": own.mode, "endpoint": own.endpoint, "description": own.description}


def _print(found: dict[str, Any]) -> None:
    facts = {**found, "keys": ", ".join(one["name"] or one["key_hash"] for one in found["keys"])}
    facts |= {name: limit for name, limit in found["quotas"].items() if limit is not None}
    for name in ("id", "display_name", "namespace", "state", "catalog_file", "keys", *found["quotas"]):
        if facts.get(name):
            click.echo(plain(f"{name}: {facts[name]}"))
    rows = [(server, "shared", _narrowed(lists)) for server, lists in found["servers"].items()]
    rows += [(server, "own", own["endpoint"] or own["mode"]) for server, own in found["own_servers"].items()]
    print_table(("server", "whose", "what of it, or where"), rows, empty="it is offered no server")
    for mistake in found["mistakes"]:
        click.echo(plain(f"mistake: {mistake}"))


def _narrowed(entries: list[dict[str, Any]]) -> str:
    words = [
        f"{word}s {kind}s {', '.join(lists[f'{word}_list'])}"
        for entry in entries
        for kind, lists in entry.items()
        for word in ("allow", "deny")
        if lists[f"{word}_list"]
    ]
    return "; ".join(words).replace("denys", "denies") or "everything"


@tenant.command("hash-key")
@click.option("--generate", is_flag=True, help="Make a key and print it too, instead of reading one.")
def hash_key(generate: bool) -> None:
    """Read a key on stdin and print the hash that tenants.yaml wants. The key itself is written nowhere."""
    secret = keys.mint() if generate else key_on_stdin()
    if len(secret) < LONG_ENOUGH:
        message = f"a key of {len(secret)} characters can be guessed from its hash; use --generate"
        raise click.ClickException(message)
    if generate:
        click.echo(f"key:      {secret}")
        click.echo(f"key_hash: {HASH_PREFIX}{keys.sha256(secret)}")
    else:
        click.echo(f"{HASH_PREFIX}{keys.sha256(secret)}")
