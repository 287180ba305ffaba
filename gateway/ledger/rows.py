"""Rows of the ledger's tables as values of the vocabulary, and back; the same for every backend."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gateway.facts import Bundle
from gateway.model import AuditEvent, Credential, LedgerMeta, Replica, ServerInventory, ToolRef, Withdrawal

if TYPE_CHECKING:
    from collections.abc import Sequence

Row = tuple[Any, ...]


def meta(row: Row) -> LedgerMeta:
    """Read (epoch, revision, config_hash)."""
    return LedgerMeta(*row)


def withdrawal(row: Row) -> Withdrawal:
    """Read (server, tool, tenant, withdrawn_by, withdrawn_at)."""
    server, tool, tenant, by, at = row
    return Withdrawal(ToolRef(server, tool), tenant, by, at)


def credential(row: Row) -> Credential:
    """Read the columns of `credential`, in the order of the value's own attributes."""
    return Credential(*row)


def credential_row(one: Credential) -> Row:
    """Write the columns of `credential`, in the order of the value's own attributes."""
    return (
        *(one.id, one.hash, one.prefix, one.principal, one.name, one.role, one.tenant),
        *(one.created_at, one.created_by, one.expires_at, one.revoked_at, one.revoked_by),
    )


def inventory(row: Row) -> ServerInventory:
    """Read (server, digest, tools, updated_at)."""
    server, digest, tools, updated_at = row
    return ServerInventory(server, digest, tuple(json.loads(tools)), updated_at)


def tools_text(tools: Sequence[str]) -> str:
    """Write an inventory's tool names."""
    return json.dumps(tools)


def replica(row: Row) -> Replica:
    """Read (name, token_hash, registered_at)."""
    return Replica(*row)


def bundle(row: Row) -> Bundle:
    """Read (name, digest, revision)."""
    return Bundle(*row)


def audit_row(event: AuditEvent) -> Row:
    """Write (time, type, outcome, tenant, reason, body); the body has what has no column of its own."""
    body = {
        "id": event.id,
        "actor": event.actor,
        "source": event.source,
        "target": event.target,
        "policy": event.policy,
        "latency_ms": event.latency_ms,
        "count": event.count,
    }
    text = json.dumps(body, separators=(",", ":"))
    return event.time, event.type, event.outcome, event.tenant, event.reason, text


def audit_event(row: Row) -> tuple[int, AuditEvent]:
    """Read (seq, time, type, outcome, tenant, reason, body)."""
    seq, time, type_, outcome, tenant, reason, body = row
    rest = json.loads(body)
    return seq, AuditEvent(time=time, type=type_, outcome=outcome, tenant=tenant, reason=reason, **rest)
