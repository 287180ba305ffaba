"""The audit trail: one event for each decision and admin action, written in group commits.

Events of decisions are buffered for a moment and committed together, by a task of this room's own, so a client
that disconnects cancels no commit. A trail that cannot be written fills up, and a full one refuses: no decision
is taken that could not be recorded. Admin actions are not buffered at all; the ledger writes their event in the
transaction of the action.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING, Any

from gateway.errors import Unavailable
from gateway.model import AuditEvent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from gateway.audit_file import AuditFile
    from gateway.model import Principal, RequestInfo, Verdict

LOG = logging.getLogger("portcullis.audit")
CAPACITY = 20_000
GROUP_SECONDS = 0.02
RETRY_SECONDS = 0.5
MAX_TEXT_CHARACTERS = 512
# As many as policy is told.
MAX_GROUPS = 100
DAY_MS = 86_400_000


def uuid7(now_ms: int) -> str:
    """Return a UUIDv7 (RFC 9562 section 5.7): ids that sort by time."""
    # Unique is enough: nothing hangs on nobody guessing an id, and the system's randomness costs a system call.
    value = (now_ms & 0xFFFFFFFFFFFF) << 80 | random.getrandbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def now_ms() -> int:
    """Return the time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def actor_of(principal: Principal) -> dict[str, Any]:
    """Return who acted, as an event names it and as the question can be asked again; no secret is in it."""
    credential = principal.credential
    actor: dict[str, Any] = {
        "principal": principal.subject,
        "kind": principal.kind,
        "issuer": principal.issuer,
        "credential_id": credential.id if credential else None,
    }
    rights = {
        "groups": principal.groups[:MAX_GROUPS],
        "scopes": principal.scopes,
        "role": credential.role if credential else None,
        "scope": credential.scope if credential else None,
        "acting_for": principal.acting_for,
    }
    return actor | {name: value for name, value in rights.items() if value}


def source_of(request: RequestInfo) -> dict[str, Any]:
    """Return where a request came from, as an event names it."""
    return {"ip": request.ip, "request_id": request.id}


def policy_of(verdict: Verdict) -> dict[str, Any]:
    """Return what policy said, as an event names it: the first reason is the one that counts."""
    reasons = verdict.reasons
    return {
        "allow": verdict.allow,
        "revision": verdict.revision,
        "epoch": verdict.epoch,
        "stale": verdict.stale,
        "layer": reasons[0].layer if reasons else None,
        "reasons": [{"code": one.code, "layer": one.layer, **one.detail} for one in reasons] if reasons else [],
    }


def clipped(text: str | None) -> str | None:
    """Return text of bounded length that UTF-8 can carry: names come from strangers (A62)."""
    if text is None:
        return None
    # Bytes of a header that are no UTF-8 arrive as halves of surrogate pairs.
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= MAX_TEXT_CHARACTERS else text[:MAX_TEXT_CHARACTERS] + "…"


def event(
    type_: str,
    outcome: str,
    *,
    reason: str | None = None,
    tenant: str | None = None,
    actor: Mapping[str, Any] | None = None,
    source: Mapping[str, Any] | None = None,
    target: Mapping[str, Any] | None = None,
    policy: Mapping[str, Any] | None = None,
    latency_ms: float | None = None,
    count: int = 1,
) -> AuditEvent:
    """Return an event of this moment."""
    now = now_ms()
    return AuditEvent(
        id=uuid7(now),
        time=now,
        type=type_,
        outcome=outcome,
        reason=reason,
        tenant=tenant,
        actor=actor or {},
        source=source or {},
        target=target or {},
        policy=policy or {},
        latency_ms=latency_ms,
        count=count,
    )


class AuditTrail:
    """Collects events and commits them in groups. `observe` sees each event once, as it is recorded."""

    def __init__(
        self,
        append: Callable[[Sequence[AuditEvent]], Awaitable[None]],
        *,
        file: AuditFile | None = None,
        observe: Callable[[AuditEvent], None] = lambda _: None,
        capacity: int = CAPACITY,
    ) -> None:
        self._append = append
        self._file = file
        self._observe = observe
        self._capacity = capacity
        self._pending: list[AuditEvent] = []
        self._unfiled: list[AuditEvent] = []  # what the ledger has and the file does not yet
        self._news = asyncio.Event()
        # Closing meets a commit under way: two at once would write its events twice and drop later ones unwritten.
        self._committing = asyncio.Lock()
        self._closing = False
        self.failures = 0
        """How often events could not be written; they waited, and were tried again."""

    @property
    def pending(self) -> int:
        """How many events wait to be written."""
        return len(self._pending) + len(self._unfiled)

    @property
    def room(self) -> int:
        """How many more may wait before nothing is decided any more."""
        return max(0, self._capacity - self.pending)

    def require_room(self) -> None:
        """Raise Unavailable if another event could not be kept; asked before a decision is taken."""
        if self.pending >= self._capacity:
            raise Unavailable("the audit trail cannot be written")

    def record(self, one: AuditEvent) -> None:
        """Keep an event for the next group commit."""
        self._observe(one)
        self._pending.append(one)
        self._news.set()

    def record_elsewhere(self, one: AuditEvent) -> None:
        """Keep an event, which the ledger has already written with its mutation, for the file."""
        self._observe(one)
        if self._file is not None:
            self._unfiled.append(one)
            self._news.set()

    async def run(self) -> None:
        """Commit groups until cancelled."""
        while not self._closing:
            await self._news.wait()
            # One commit to disk for what happens within a moment, instead of one for each request.
            await asyncio.sleep(GROUP_SECONDS)
            self._news.clear()
            await self._commit_pending()

    async def _commit_pending(self) -> None:
        async with self._committing:
            await self._commit_groups()

    async def _commit_groups(self) -> None:
        while self.pending:
            try:
                await self._commit()
            except (Unavailable, OSError) as error:
                self.failures += 1
                LOG.error("audit events wait to be written: %s", error, extra={"pending": self.pending})
                if self._closing:
                    return
                await asyncio.sleep(RETRY_SECONDS)

    async def _commit(self) -> None:
        if group := tuple(self._pending):
            await self._append(group)
            del self._pending[: len(group)]
            self._unfiled += group if self._file is not None else ()
        if self._file is not None and (group := tuple(self._unfiled)):
            await asyncio.to_thread(self._file.write, group)
            del self._unfiled[: len(group)]

    async def close(self) -> None:
        """Commit what is pending; said loudly if it cannot be."""
        self._closing = True
        self._news.set()
        await self._commit_pending()
        if self.pending:
            LOG.critical("%d audit events are lost: the trail cannot be written", self.pending)


async def prune_hourly(prune: Callable[[int], Awaitable[int]], days: int, *, pause: float = 3600.0) -> None:
    """Keep the last so many days of the trail; looked at every hour until cancelled."""
    while True:
        try:
            gone = await prune(now_ms() - days * DAY_MS)
        except Unavailable as error:
            LOG.error("old audit events could not be deleted: %s", error)
        else:
            if gone:
                LOG.info("%d audit events older than %d days were deleted", gone, days)
        await asyncio.sleep(pause)
