"""What the ledger says at one revision, and the document `portcullis_live` that is made of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bundles.roles import bindings
from bundles.scopes import token_scopes

if TYPE_CHECKING:
    from gateway.facts import Bundle, LedgerMeta, Replica, ServerInventory
    from gateway.ledger import Ledger
    from gateway.ledger.values import Binding
    from gateway.model import Credential, Withdrawal


@dataclass(frozen=True, slots=True)
class Facts:
    """The ledger as read after `meta`: never older than its revision, possibly a little newer."""

    meta: LedgerMeta
    withdrawals: tuple[Withdrawal, ...]
    credentials: tuple[Credential, ...]
    inventory: tuple[ServerInventory, ...]
    replicas: tuple[Replica, ...]
    bundles: tuple[Bundle, ...] = ()
    bindings: tuple[Binding, ...] = ()

    def recorded(self, name: str) -> int:
        """Return the revision that recorded what was last published under a bundle's name; 0 where nothing was."""
        return next((one.revision for one in self.bundles if one.name == name), 0)

    @property
    def inventory_digest(self) -> tuple[tuple[object, ...], ...]:
        """What of the inventory the tenants' bundle depends on: names, not definitions."""
        return tuple((one.server, one.tools, one.prompts, one.resources, one.templates) for one in self.inventory)


async def read(ledger: Ledger, before: Facts | None = None) -> Facts:
    """Read the ledger, its revision first: what is read after it can only be news that the next read numbers.

    Of credentials, of which there may be many, only those are read that changed since `before`.
    """
    meta = await ledger.meta()
    # All at once, because most of what each takes is waiting.
    withdrawals, credentials, inventory, replicas, bundles, bound = await asyncio.gather(
        ledger.withdrawals(),
        _credentials(ledger, before if before and before.meta.epoch == meta.epoch else None),
        ledger.inventory(),
        ledger.replicas(),
        ledger.bundles(),
        ledger.bindings(),
    )
    return Facts(meta, withdrawals, credentials, inventory, replicas, bundles, bound)


async def _credentials(ledger: Ledger, before: Facts | None) -> tuple[Credential, ...]:
    if before is None:
        return await ledger.credentials()
    changed = {one.id: one for one in await ledger.credentials(since=before.meta.revision)}
    if not changed:
        return before.credentials
    kept = [changed.pop(one.id, one) for one in before.credentials]
    return (*kept, *changed.values())


def live_document(facts: Facts, generated_at: int) -> dict[str, Any]:
    """Return `portcullis_live`; `generated_at` is when the facts were read, in seconds since the epoch."""
    everybody: dict[str, Any] = {}
    tenants: dict[str, dict[str, Any]] = {}
    for withdrawal in facts.withdrawals:
        overlay = everybody if withdrawal.tenant is None else tenants.setdefault(withdrawal.tenant, {})
        overlay[str(withdrawal.ref)] = {"by": withdrawal.by, "at": withdrawal.at}
    subjects, groups = bindings(
        (one.principal, one.role, one.scope, one.issuer, one.revoked_at is None) for one in facts.bindings
    )
    return {
        "epoch": facts.meta.epoch,
        "revision": facts.meta.revision,
        "generated_at": generated_at,
        "withdrawn": {"global": everybody, "tenant": tenants},
        "revoked": {credential.id: True for credential in facts.credentials if credential.revoked_at is not None},
        "bindings": subjects,
        "groups": groups,
        "scopes": token_scopes(facts.credentials, facts.inventory),
    }
