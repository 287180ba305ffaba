"""Decisions as they were recorded: the newest of the audit trail, or of a file of JSON lines like `audit.file`."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import orjson

from gateway.errors import ConfigError, Mistake
from gateway.ledger.values import AuditFilter
from gateway.model import AuditEvent
from gateway.recalled import recalled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.ledger import Ledger

WINDOW = 5000
MEMBERS = frozenset(field.name for field in fields(AuditEvent))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which decisions: the newest `limit` since a time in milliseconds, of one tenant or of all."""

    limit: int
    since: int | None = None
    tenant: str | None = None

    def takes(self, event: AuditEvent) -> bool:
        """Say whether an event is of a decision that is wanted."""
        young = self.since is None or event.time >= self.since
        return young and self.tenant in (None, event.tenant) and recalled(event) is not None


async def from_ledger(ledger: Ledger, wanted: Wanted) -> list[AuditEvent]:
    """Return the wanted events of the trail, oldest first; it is read backwards, and only as far as needed."""
    asked = AuditFilter(tenant=wanted.tenant, since=wanted.since)
    found: list[AuditEvent] = []
    before, more = None, True
    while more and len(found) < wanted.limit:
        page = await ledger.audit_page(asked, after=before, limit=WINDOW, newest_first=True)
        found += [event for _, event in page if wanted.takes(event)]
        before, more = (page[-1][0], True) if len(page) == WINDOW else (None, False)
    return found[: wanted.limit][::-1]


def from_file(path: Path, wanted: Wanted) -> list[AuditEvent]:
    """Return the wanted events of a file, in its order; raises ConfigError for a line that is no event."""
    with path.open("rb") as lines:
        return list(deque(filter(wanted.takes, _events(path, lines)), maxlen=wanted.limit))


def _events(path: Path, lines: Iterator[bytes]) -> Iterator[AuditEvent]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _event(path, number, line)


def _event(path: Path, number: int, line: bytes) -> AuditEvent:
    try:
        members: dict[str, Any] = orjson.loads(line)
        # `audit tail --json` adds the number; a newer version may add more.
        return AuditEvent(**{name: value for name, value in members.items() if name in MEMBERS})
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError((Mistake(str(path), "", number, f"is not an audit event: {error}"),)) from error
