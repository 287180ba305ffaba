"""The ledger's interface over what the two backends do differently: a transaction, a read, and a moment."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from gateway.ledger import credentials, rows, statements, trail
from gateway.ledger.chain import column
from gateway.ledger.values import AuditFilter, Binding

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from gateway.facts import Acknowledgement, Bundle, LedgerMeta, Replica, ServerInventory
    from gateway.ids import Ref
    from gateway.ledger.chain import Verification
    from gateway.ledger.transaction import Reader, Row, Transaction
    from gateway.ledger.values import Admins
    from gateway.model import AuditEvent, Credential, CredentialKind, Withdrawal

P = ParamSpec("P")
T = TypeVar("T")


class SqlLedger(ABC):
    """Every method of `Ledger` but `changed` and `close`. `writer` is the label of this process's audit chain."""

    def __init__(self, writer: str) -> None:
        self._pen = trail.Pen(writer)
        self._appending = asyncio.Lock()

    @abstractmethod
    async def _transact(self, work: Callable[[Transaction], Coroutine[Any, Any, T]]) -> T:
        """Run work in a transaction of its own, anew where it raises `Again`; the pen notes what it appended."""

    @abstractmethod
    async def _read(self, sql: str, *values: Any) -> list[Row]:
        """Return the rows of one statement, which changes nothing."""

    @abstractmethod
    def _moment(self) -> AbstractAsyncContextManager[Reader]:
        """Return something to read with that sees one moment, for as long as it takes, and keeps nobody waiting."""

    async def _mutate(
        self, work: Callable[Concatenate[Transaction, P], Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a mutation, one at a time over all processes, so that revisions are dense and in order."""

        async def alone(tx: Transaction) -> T:
            await statements.only_one(tx)
            return await work(tx, *args, **kwargs)

        return await self._transact(alone)

    async def meta(self) -> LedgerMeta:
        """Return where the ledger stands."""
        return rows.meta((await self._read(statements.META))[0])

    async def renew_epoch(self, seen: str) -> LedgerMeta:
        """Draw a new epoch in the place of the one seen, unless another process was first."""
        return await self._mutate(statements.renew_epoch, seen)

    async def note_config(self, config_hash: str, event: AuditEvent | None = None) -> int:
        """Record the configuration in force; the revision is bumped only by a new hash."""
        return await self._mutate(statements.note_config, self._pen, config_hash, event)

    async def withdraw(self, withdrawal: Withdrawal, event: AuditEvent) -> int:
        """Withdraw a tool and return the revision that says so."""
        return await self._mutate(statements.withdraw, self._pen, withdrawal, event)

    async def restore(self, ref: Ref, tenant: str | None, event: AuditEvent) -> tuple[int, tuple[Withdrawal, ...]]:
        """Lift one tenant's withdrawal, or every one of the tool; return revision and what was lifted."""
        return await self._mutate(statements.restore, self._pen, ref, tenant, event)

    async def withdrawals(self) -> tuple[Withdrawal, ...]:
        """Return every runtime withdrawal, ordered by tool and tenant."""
        return tuple(map(rows.withdrawal, await self._read(statements.WITHDRAWALS)))

    async def add_credential(self, credential: Credential, event: AuditEvent) -> int:
        """Store a credential and return the revision."""
        return await self._mutate(credentials.add_credential, self._pen, credential, event)

    async def revoke_credential(
        self, credential_id: str, by: str, at: int, event: AuditEvent, *, admins: Admins
    ) -> int | None:
        """Revoke a live credential and return the revision; None if there is no such live one."""
        return await self._mutate(credentials.revoke_credential, self._pen, credential_id, by, at, event, admins)

    async def rotate_credential(
        self, credential_id: str, new: Credential, overlap_until: int, event: AuditEvent
    ) -> int | None:
        """Put a new credential in the place of a live one; None if there is no such live one."""
        return await self._mutate(credentials.rotate_credential, self._pen, credential_id, new, overlap_until, event)

    async def credentials(self, since: int = 0) -> tuple[Credential, ...]:
        """Return every credential that changed after a revision, oldest change first; without one all, oldest first."""
        reading = self._read(credentials.CHANGED, since) if since else self._read(credentials.CREDENTIALS)
        return tuple(map(rows.credential, await reading))

    async def credential(self, credential_id: str) -> Credential | None:
        """Return the credential with this id, live or not; None if there is none."""
        found = await self._read(credentials.CREDENTIAL, column(credential_id))
        return rows.credential(found[0]) if found else None

    async def credentials_page(
        self,
        *,
        kind: CredentialKind | None = None,
        tenant: str | None = None,
        created_by: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> tuple[Credential, ...]:
        """Return up to `limit` credentials that follow the one with the id `after`, oldest first."""
        wanted = {"kind": kind.value if kind else None, "tenant": tenant, "created_by": created_by}
        sql, values = credentials.page_of(after, limit, wanted)
        return tuple(map(rows.credential, await self._read(sql, *values)))

    async def touch_credentials(self, used: Mapping[str, int]) -> None:
        """Note when credentials were last used."""
        if used:
            await self._transact(lambda tx: credentials.touch_credentials(tx, used))

    async def assign_role(self, binding: Binding, event: AuditEvent) -> int:
        """Give a role to a principal at a scope and return the revision."""
        return await self._mutate(credentials.assign_role, self._pen, binding, event)

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
        """Take a role away, leaving a tombstone; None if it was not given."""
        binding = Binding(principal, role, scope, issuer, by, at)
        return await self._mutate(credentials.revoke_role, self._pen, binding, event, admins)

    async def bindings(self) -> tuple[Binding, ...]:
        """Return every binding, tombstones included."""
        return tuple(map(rows.binding, await self._read(credentials.BINDINGS)))

    async def put_inventory(self, inventory: ServerInventory) -> int | None:
        """Keep what a server offers; return the revision if that is news."""
        return await self._mutate(statements.put_inventory, inventory)

    async def inventory(self) -> tuple[ServerInventory, ...]:
        """Return the last known inventory of every server, ordered by server."""
        return tuple(map(rows.inventory, await self._read(statements.INVENTORY)))

    async def register_replica(self, replica: Replica) -> int:
        """Count a replica from now on and return the revision."""
        return await self._mutate(statements.register_replica, replica)

    async def forget_replica(self, name: str) -> int | None:
        """Take a replica out of the count; return the revision, or None if it was not counted."""
        return await self._mutate(statements.forget_replica, name)

    async def replicas(self) -> tuple[Replica, ...]:
        """Return the counted replicas, ordered by name."""
        return tuple(map(rows.replica, await self._read(statements.REPLICAS)))

    async def acknowledge(self, found: Sequence[Acknowledgement], *, news: bool) -> None:
        """Keep what replicas have applied, in the place of what was kept of each."""
        await self._transact(lambda tx: statements.acknowledge(tx, found, news=news))

    async def acknowledgements(self) -> tuple[Acknowledgement, ...]:
        """Return what is kept of what replicas have applied, ordered by replica."""
        return tuple(map(rows.acknowledgement, await self._read(statements.ACKNOWLEDGEMENTS)))

    async def note_bundle(self, name: str, digest: str, event: AuditEvent | None = None) -> int:
        """Return the revision that recorded this content of a bundle."""
        return await self._mutate(statements.note_bundle, self._pen, name, digest, event)

    async def bundles(self) -> tuple[Bundle, ...]:
        """Return what was last recorded of each bundle, ordered by name."""
        return tuple(map(rows.bundle, await self._read(statements.BUNDLES)))

    async def append_audit(self, events: Sequence[AuditEvent]) -> None:
        """Append events in one transaction, in order; repeated after a failure, each is there once."""
        async with self._appending:
            await self._transact(lambda tx: trail.append_once(tx, self._pen, events))
            self._pen.attempt = None

    async def audit(self, limit: int = 100, after: int = 0) -> tuple[tuple[int, AuditEvent], ...]:
        """Return up to `limit` (sequence number, event) with sequence above `after`, oldest first."""
        return await self.audit_page(AuditFilter(), after=after, limit=limit)

    async def audit_page(
        self, wanted: AuditFilter, *, after: int | None = None, limit: int = 100, newest_first: bool = False
    ) -> tuple[tuple[int, AuditEvent], ...]:
        """Return up to `limit` (sequence number, event) of those looked for that follow `after`."""
        sql, values = trail.page_of(wanted, after, limit, newest_first=newest_first)
        return tuple(map(rows.audit_event, await self._read(sql, *values)))

    async def newest_audit(self) -> int:
        """Return the sequence number of the newest event, 0 where there is none."""
        ((newest,),) = await self._read(trail.NEWEST)
        return int(newest)

    async def prune_audit(self, before: int) -> int:
        """Delete audit events older than `before` and return how many; in batches, so that writers get in between."""
        total, more, now = 0, True, time.time_ns() // 1_000_000
        while more:
            deleted, more = await self._transact(lambda tx: trail.prune(tx, before, now))
            total += deleted
        return total

    async def audit_chain(self, seen: Callable[[int], None] = lambda _: None) -> Verification:
        """Verify every writer's chain; `seen` is told of each batch of events that was looked at."""
        async with self._moment() as reader:
            return await trail.verify(reader, seen)
