"""What admins did at runtime, kept where a restart finds it. One interface, one backend a file.

Every mutation bumps `meta.revision` in its own transaction and, where an `AuditEvent` goes with it, writes that
event in the same transaction: what is not recorded did not happen. Times are milliseconds since the epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.facts import Bundle
    from gateway.model import (
        AuditEvent,
        Credential,
        LedgerMeta,
        Replica,
        ServerInventory,
        ToolRef,
        Withdrawal,
    )


class Ledger(Protocol):
    """The ledger's interface; every method raises `errors.Unavailable` when the store cannot be reached."""

    async def meta(self) -> LedgerMeta:
        """Return where the ledger stands."""

    async def renew_epoch(self) -> LedgerMeta:
        """Draw a new epoch, because the ledger was found restored from an older copy; the revision goes on."""

    async def note_config(self, config_hash: str, event: AuditEvent | None = None) -> int:
        """Record the configuration in force; bump and return the revision only if the hash is a new one."""

    async def withdraw(self, withdrawal: Withdrawal, event: AuditEvent) -> int:
        """Withdraw a tool (again is not an error) and return the revision that says so."""

    async def restore(self, ref: ToolRef, tenant: str | None, event: AuditEvent) -> tuple[int, tuple[Withdrawal, ...]]:
        """Lift the withdrawal for `tenant`, or with None every runtime one of the tool; return revision and lifted.

        The lifted withdrawals are added to the event's target as `lifted` (tenant ids, null for "from everybody").
        """

    async def withdrawals(self) -> tuple[Withdrawal, ...]:
        """Return every runtime withdrawal, ordered by tool and tenant."""

    async def add_credential(self, credential: Credential, event: AuditEvent) -> int:
        """Store a credential and return the revision."""

    async def revoke_credential(self, credential_id: str, by: str, at: int, event: AuditEvent) -> int | None:
        """Revoke a live credential and return the revision; None if there is no such live one."""

    async def credentials(self) -> tuple[Credential, ...]:
        """Return every credential, revoked and expired ones included, oldest first."""

    async def put_inventory(self, inventory: ServerInventory) -> int | None:
        """Keep what a server offers; bump and return the revision if its tool names or digest changed, else None."""

    async def inventory(self) -> tuple[ServerInventory, ...]:
        """Return the last known inventory of every server, ordered by server."""

    async def register_replica(self, replica: Replica) -> int:
        """Count a replica from now on (its token replaces an older one of that name); return the revision."""

    async def forget_replica(self, name: str) -> int | None:
        """Take a replica out of the count; return the revision, or None if it was not counted."""

    async def replicas(self) -> tuple[Replica, ...]:
        """Return the counted replicas, ordered by name."""

    async def note_bundle(self, name: str, digest: str, event: AuditEvent | None = None) -> int:
        """Return the revision that recorded this content of a bundle; another one than before is recorded, and bumps.

        The event is written only if something is recorded.
        """

    async def bundles(self) -> tuple[Bundle, ...]:
        """Return what was last recorded of each bundle, ordered by name."""

    async def append_audit(self, events: Sequence[AuditEvent]) -> None:
        """Append events in one transaction, in order."""

    async def audit(self, limit: int = 100, after: int = 0) -> tuple[tuple[int, AuditEvent], ...]:
        """Return up to `limit` (sequence number, event) with sequence above `after`, oldest first."""

    async def newest_audit(self) -> int:
        """Return the sequence number of the newest event, 0 where there is none."""

    async def prune_audit(self, before: int) -> int:
        """Delete audit events older than `before` and return how many."""

    async def close(self) -> None:
        """Finish what is under way and let go of the store."""
