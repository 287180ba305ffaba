"""Credentials by the hundred thousand, and a ledger that has them; the same number makes the same ones."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any

from gateway import keys
from gateway.ledger import rows
from gateway.model import Credential, CredentialKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

KEY, TOKEN = keys.mint(), keys.mint_token()
COLUMNS = """id, hash, prefix, principal, name, role, tenant, created_at, created_by, expires_at, revoked_at,
    revoked_by, kind, tools, last_used_at, replaced_by, revision"""


def stored(number: int, secret: str, **more: Any) -> Credential:
    """Return a credential as the ledger keeps it: a hundred a tenant, each with a name of its own."""
    tenant, now = f"tenant-{number // 100}", 1_790_000_000_000
    return Credential(
        id=f"c_{number:016x}",
        hash=keys.sha256(secret),
        prefix=keys.shown(secret),
        principal=f"service:{tenant}/agent-{number % 100}",
        name=f"key {number} of {tenant}",
        role="developer",
        tenant=tenant,
        created_at=now,
        created_by="user:root",
        expires_at=now + 7_776_000_000 + number,
        **more,
    )


def population(count: int) -> Iterator[Credential]:
    """Yield so many credentials, half keys and half tokens; two of them have the secrets that are presented."""
    kinds = (CredentialKind.API_KEY, CredentialKind.TENANT_TOKEN)
    for number in range(count - 2):
        yield stored(number, f"secret {number}", kind=kinds[number % 2])
    yield stored(count - 2, KEY)
    yield stored(count - 1, TOKEN, kind=CredentialKind.TENANT_TOKEN)


def fill(path: Path, credentials: Sequence[Credential]) -> None:
    """Write these into a ledger in one go, the last of them with a revision of its own."""
    marks = ", ".join("?" * 17)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("begin")
        rows_ = [(*rows.credential_row(one), 2 + (one is credentials[-1])) for one in credentials]
        db.executemany(f"insert into credential ({COLUMNS}) values ({marks})", rows_)
        db.execute("update meta set revision = 3")
        db.execute("commit")
