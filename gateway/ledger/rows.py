"""Rows of the ledger's tables as values of the vocabulary, and back; the same for every backend."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import orjson

from gateway.facts import Acknowledgement, Bundle, LedgerMeta, Replica, ServerInventory
from gateway.ids import Kind, Ref
from gateway.ledger.chain import Columns, Link, Writer
from gateway.ledger.values import Binding
from gateway.model import AuditEvent, Credential, CredentialKind, Withdrawal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.ledger.transaction import Row


def meta(row: Row) -> LedgerMeta:
    """Read (epoch, revision, config_hash)."""
    return LedgerMeta(*row)


def withdrawal(row: Row) -> Withdrawal:
    """Read (server, kind, name, tenant, withdrawn_by, withdrawn_at)."""
    server, kind, name, tenant, by, at = row
    return Withdrawal(Ref(server, Kind(kind), name), tenant, by, at)


def credential(row: Row) -> Credential:
    """Read the columns of `credential`, in the order of the value's own attributes."""
    kind, tools, *rest = row[12:]
    told = (*row[:12], CredentialKind(kind), () if tools == "[]" else tuple(json.loads(tools)), *rest)
    return Credential(*told)


def credential_row(one: Credential) -> Row:
    """Write the columns of `credential`, in the order of the value's own attributes."""
    return (
        *(one.id, one.hash, one.prefix, one.principal, one.name, one.role, one.tenant),
        *(one.created_at, one.created_by, one.expires_at, one.revoked_at, one.revoked_by),
        *(one.kind.value, names_text(one.tools), one.last_used_at, one.replaced_by),
    )


def binding(row: Row) -> Binding:
    """Read the columns of `binding`; an issuer of '' is none."""
    principal, role, scope, issuer, *rest = row
    return Binding(principal, role, scope, issuer or None, *rest)


def inventory(row: Row) -> ServerInventory:
    """Read (server, digest, tools, others, updated_at)."""
    server, digest, tools, others, updated_at = row
    names = {kind: tuple(listed) for kind, listed in json.loads(others).items()}
    return ServerInventory(server, digest, tuple(json.loads(tools)), updated_at, **names)


def others_text(inventory: ServerInventory) -> str:
    """Write the names of what a server offers besides tools, by the attributes of `ServerInventory`."""
    others = {"prompts": inventory.prompts, "resources": inventory.resources, "templates": inventory.templates}
    return json.dumps({kind: names for kind, names in others.items() if names})


def names_text(names: Sequence[str]) -> str:
    """Write names, of tools or patterns of them."""
    return json.dumps(names)


def replica(row: Row) -> Replica:
    """Read (name, token_hash, registered_at)."""
    return Replica(*row)


def acknowledgement(row: Row) -> Acknowledgement:
    """Read (replica, token_hash, sync, epoch, revision, lacking, at)."""
    replica_, token_hash, sync, epoch, revision, lacking, at = row
    ranges = tuple((above, upto) for above, upto in json.loads(lacking))
    return Acknowledgement(replica_, token_hash, sync, epoch, revision, ranges, at)


def acknowledgement_row(one: Acknowledgement) -> Row:
    """Write (sync, epoch, revision, lacking, at) for a counted (replica, token_hash)."""
    return (one.sync, one.epoch, one.revision, json.dumps(one.lacking), one.at, one.replica, one.token_hash)


def bundle(row: Row) -> Bundle:
    """Read (name, digest, revision)."""
    return Bundle(*row)


def body_of(event: AuditEvent) -> str:
    """Return an event as it is kept and hashed; encoded here and nowhere else on its way into the ledger."""
    try:
        return orjson.dumps(event).decode()
    except TypeError:
        # The slow way also takes integers above 64 bits and halves of surrogate pairs.
        return json.dumps(asdict(event), separators=(",", ":"))


def audit_event(row: Row) -> tuple[int, AuditEvent]:
    """Read (seq, time, type, outcome, tenant, reason, body); a body from before the chain lacks what columns say."""
    seq, time, type_, outcome, tenant, reason, body = row
    stood = {"time": time, "type": type_, "outcome": outcome, "tenant": tenant, "reason": reason}
    return seq, AuditEvent(**{**stood, **json.loads(body)})


def writer(row: Row) -> Writer:
    """Read the columns of `audit_writer`."""
    return Writer(*row)


def link(row: Row) -> Link:
    """Read (seq, writer, number, prev, hash), the columns of an event, and its body."""
    seq, writer_id, number, prev, hash_ = row[:5]
    return Link(seq, writer_id, number, prev, hash_, Columns(*row[5:12]), row[12])
