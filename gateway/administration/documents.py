"""Keys, tokens and assignments as answers show them: everything but what would let somebody use them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.administration.acting import author_of
from gateway.audit import now_ms

if TYPE_CHECKING:
    from gateway.administration.roles import Assigned
    from gateway.model import Credential


def key_document(key: Credential) -> dict[str, Any]:
    """Return an API key; never its secret, nor the hash of it."""
    return {
        "id": key.id,
        "principal": key.principal,
        "name": key.name,
        "role": key.role,
        "tenant_id": key.tenant,
        **_common(key),
        "replaced_by": key.replaced_by,
    }


def token_document(token: Credential) -> dict[str, Any]:
    """Return a tenant token; never its secret, nor the hash of it."""
    return {
        "id": token.id,
        "name": token.name,
        "tenant_id": token.tenant,
        "role": token.role,
        "tools": list(token.tools),
        **_common(token),
    }


def assignment_document(one: Assigned) -> dict[str, Any]:
    """Return an assignment, and whether it is configured or was made at runtime."""
    return {
        "principal": one.assignment.principal,
        "role": one.assignment.role,
        "scope": one.assignment.scope,
        "issuer": one.assignment.issuer,
        "origin": "config" if one.at is None else "runtime",
        "by": one.by and author_of(one.by)[0],
        "at": one.at,
    }


def state_of(credential: Credential, now: int) -> str:
    """Return whether a credential is live at a time in milliseconds, or why it is not."""
    if credential.revoked_at is not None:
        return "revoked"
    return "expired" if credential.expires_at is not None and credential.expires_at <= now else "live"


def _common(one: Credential) -> dict[str, Any]:
    created_by, issuer = author_of(one.created_by)
    return {
        "prefix": one.prefix,
        "state": state_of(one, now_ms()),
        "created_at": one.created_at,
        "created_by": created_by,
        "created_by_issuer": issuer,
        "expires_at": one.expires_at,
        "last_used_at": one.last_used_at,
        "revoked_at": one.revoked_at,
        "revoked_by": one.revoked_by and author_of(one.revoked_by)[0],
    }
