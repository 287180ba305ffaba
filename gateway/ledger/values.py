"""What the ledger keeps, and is asked by, beside the vocabulary that every room shares."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Binding:
    """A role given to a principal at a scope; with `revoked_at` it is the tombstone of one. Times in milliseconds.

    `issuer` tells apart equal principals of several issuers; None where the principal is no issuer's.
    """

    principal: str
    role: str
    scope: str
    issuer: str | None
    by: str
    at: int
    revoked_at: int | None = None
    revoked_by: str | None = None


@dataclass(frozen=True, slots=True)
class Admins:
    """Who is a global admin: how many the configuration names, and which roles make one."""

    config: int
    roles: frozenset[str] = frozenset(("admin",))


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which events are looked for; None means any. `since` is in, `until` is out, in milliseconds.

    `scope` is the one tenant whose events the reader may see at all. `target` is the event's canonical id, or where
    it has none the name that was asked for.
    """

    scope: str | None = None
    tenant: str | None = None
    principal: str | None = None
    type: str | None = None
    outcome: str | None = None
    target: str | None = None
    since: int | None = None
    until: int | None = None
