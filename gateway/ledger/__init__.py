"""What admins did at runtime, kept where a restart finds it. One interface, one backend a file.

Every mutation bumps `meta.revision` in its own transaction and, where an `AuditEvent` goes with it, writes that
event in the same transaction: what is not recorded did not happen. Times are milliseconds since the epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.facts import Acknowledgement, Bundle, LedgerMeta, Replica, ServerInventory
    from gateway.ids import Ref
    from gateway.ledger.chain import Verification
    from gateway.ledger.values import Admins, AuditFilter, Binding
    from gateway.model import AuditEvent, Credential, CredentialKind, Withdrawal


class Ledger(Protocol):
    """The ledger's interface; every method raises `errors.Unavailable` when the store cannot be reached.

    That is said within a few seconds. A mutation that was lost in the middle of its commit raises `OutcomeUnknown`.
    """

    async def meta(self) -> LedgerMeta:
        """Return where the ledger stands."""

    async def renew_epoch(self, seen: str) -> LedgerMeta:
        """Draw a new epoch, because the ledger was found restored from an older copy; the revision goes on.

        Nothing happens where the epoch is another than the one `seen`: another process found it and was first.
        """

    async def note_config(self, config_hash: str, event: AuditEvent | None = None) -> int:
        """Record the configuration in force; bump and return the revision only if the hash is a new one."""

    async def withdraw(self, withdrawal: Withdrawal, event: AuditEvent) -> int:
        """Withdraw a tool (again is not an error) and return the revision that says so."""

    async def restore(self, ref: Ref, tenant: str | None, event: AuditEvent) -> tuple[int, tuple[Withdrawal, ...]]:
        """Lift the withdrawal for `tenant`, or with None every runtime one of the tool; return revision and lifted.

        The lifted withdrawals are added to the event's target as `lifted` (tenant ids, null for "from everybody").
        """

    async def withdrawals(self) -> tuple[Withdrawal, ...]:
        """Return every runtime withdrawal, ordered by tool and tenant."""

    async def add_credential(self, credential: Credential, event: AuditEvent) -> int:
        """Store a credential and return the revision."""

    async def revoke_credential(
        self, credential_id: str, by: str, at: int, event: AuditEvent, *, admins: Admins
    ) -> int | None:
        """Revoke a live credential and return the revision; None if there is no such live one.

        Raises LastAdmin where there was a live global admin and none would be left.
        """

    async def rotate_credential(
        self, credential_id: str, new: Credential, overlap_until: int, event: AuditEvent
    ) -> int | None:
        """Store the successor of a live credential of its kind and return the revision.

        The old one ends at `overlap_until`, or when it would have ended anyway. None if there is no such live one,
        or if it has a successor already.
        """

    async def credentials(self, since: int = 0) -> tuple[Credential, ...]:
        """Return every credential that changed after the revision `since`, oldest change first.

        Without one that is every credential there is, revoked and expired ones included, oldest first. That a
        credential was used is no change.
        """

    async def credential(self, credential_id: str) -> Credential | None:
        """Return the credential with this id, live or not; None if there is none."""

    async def credentials_page(
        self,
        *,
        kind: CredentialKind | None = None,
        tenant: str | None = None,
        created_by: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> tuple[Credential, ...]:
        """Return up to `limit` credentials, oldest first, that follow the one with the id `after`; None means any.

        An id that is not among those looked for begins anew.
        """

    async def touch_credentials(self, used: Mapping[str, int]) -> None:
        """Note when credentials were last used, by id, never backwards; bumps nothing."""

    async def assign_role(self, binding: Binding, event: AuditEvent) -> int:
        """Give a role to a principal at a scope (again is not an error) and return the revision that says so."""

    async def revoke_role(
        self,
        principal: str,
        role: str,
        scope: str,
        issuer: str | None,
        by: str,
        at: int,
        event: AuditEvent,
        *,
        admins: Admins,
    ) -> int | None:
        """Take a role away, leaving a tombstone, and return the revision; None if it was not given.

        Raises LastAdmin where there was a live global admin and none would be left.
        """

    async def bindings(self) -> tuple[Binding, ...]:
        """Return every binding, tombstones included, ordered by principal, role, scope and issuer."""

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

    async def acknowledge(self, found: Sequence[Acknowledgement], *, news: bool) -> None:
        """Keep what replicas have applied, in the place of what was kept of each; bumps nothing.

        Who waits in `changed` is told if that is `news`. A replica that is not counted, or not with that token, is left
        out.
        """

    async def acknowledgements(self) -> tuple[Acknowledgement, ...]:
        """Return what is kept of what replicas have applied, ordered by replica."""

    async def note_bundle(self, name: str, digest: str, event: AuditEvent | None = None) -> int:
        """Return the revision that recorded this content of a bundle; another one than before is recorded, and bumps.

        The event is written only if something is recorded.
        """

    async def bundles(self) -> tuple[Bundle, ...]:
        """Return what was last recorded of each bundle, ordered by name."""

    async def append_audit(self, events: Sequence[AuditEvent]) -> None:
        """Append events in one transaction, in order.

        Events of a call that raised Unavailable may be given again: they are in the trail once in any case.
        """

    async def audit(self, limit: int = 100, after: int = 0) -> tuple[tuple[int, AuditEvent], ...]:
        """Return up to `limit` (sequence number, event) with sequence above `after`, oldest first.

        Events become visible in the order of their numbers, so that who reads on from one misses none.
        """

    async def audit_page(
        self, wanted: AuditFilter, *, after: int | None = None, limit: int = 100, newest_first: bool = False
    ) -> tuple[tuple[int, AuditEvent], ...]:
        """Return up to `limit` (sequence number, event) of those looked for, on from sequence number `after`."""

    async def newest_audit(self) -> int:
        """Return the sequence number of the newest event, 0 where there is none."""

    async def prune_audit(self, before: int) -> int:
        """Delete a beginning of the trail, as far as it is older than `before`, and return how many events."""

    async def audit_chain(self, seen: Callable[[int], None] = lambda _: None) -> Verification:
        """Verify the chain of every writer; `seen` is told of each batch of events that was looked at."""

    async def changed(self, timeout: float) -> bool:
        """Wait until somebody, this process included, may have committed a mutation since this was last asked.

        True at once where that is so; False after `timeout` seconds. It is a hint: True may mean nothing, and False
        does not prove that nothing was committed. One task of a process asks. After a lost connection everything
        may have changed.
        """

    async def close(self) -> None:
        """Finish what is under way and let go of the store."""
