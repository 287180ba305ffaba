"""Prometheus metrics (docs/metrics.md): a fold over audit events, and readings of state. Latencies are in seconds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest

from gateway.families import Families
from gateway.series import OTHER, Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.model import AuditEvent
    from gateway.series import Labels, Series, Wanted

CUSTOM = "custom"
MAX_CODES = 100
MAX_CODE_LENGTH = 128
# So many samples are written before anybody else gets a turn: a fifth of a millisecond.
SAMPLES_A_TURN = 200
DENIED = "AuthorizationDenied"
LIMITED = "RequestLimited"
CALL = "tools/call"


class Metrics:
    """The gateway's series. `known_tenant` bounds the tenant label: what it does not know is `other` (A63)."""

    def __init__(self, known_tenant: Callable[[str], bool]) -> None:
        self._known_tenant = known_tenant
        self._codes: set[str] = set()
        self._of = Families()
        self._series: list[Series] = [
            *self._of.every(),
            Reading(
                "portcullis_series_folded",
                "What was counted under other for want of room.",
                ("series",),
                self._of.folded,
                kind="counter",
            ),
        ]
        self._process = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._process)

    def add(self, series: Series) -> None:
        """Have one more family read."""
        self._series.append(series)

    def answered(self, route: str, status: int) -> None:
        """Count one HTTP response; `route` is the pattern that matched, never the path that was sent."""
        self._of.requests.add((route, str(status)))

    def lagged(self, seconds: float) -> None:
        """Count how late the event loop was with something."""
        self._of.lag.observe((), seconds)

    def observe(self, event: AuditEvent) -> None:
        """Count one event."""
        target, policy = event.target, event.policy
        reason = self._reason(event) if event.reason else ""
        self._of.events.add((event.outcome, reason, event.type), event.count)
        action = target.get("action")
        if event.type == LIMITED or (action is None and event.type != DENIED):
            return
        action = action or ""
        self._of.decisions.add((action, event.outcome, reason, self._tenant(event.tenant)))
        if event.latency_ms is not None:
            self._of.request_seconds.observe((action,), event.latency_ms / 1000)
        if (seconds := policy.get("seconds")) is not None:
            self._of.decision_seconds.observe((action,), seconds)
        if policy.get("stale"):
            self._of.stale.add((action,))
        if (server := target.get("server")) is not None:
            self._served(event, action, server)

    def _served(self, event: AuditEvent, action: str, server: str) -> None:
        """Count what came of an event that names a server and what was wanted there: policy's data has both."""
        target = event.target
        outcome = came_of(event)
        if action == CALL and (id_ := target.get("id")) is not None:
            self._of.tool_calls.add((outcome, server, id_[len(server) + 1 :]))
        if (seconds := target.get("seconds")) is not None:
            self._of.upstream_seconds.observe((outcome, server), seconds)

    def retain(self, known_server: Callable[[str], bool]) -> None:
        """Forget the series of tenants and servers that are not there any more."""
        self._of.decisions.keep(lambda labels: labels[3] in ("", OTHER) or self._known_tenant(labels[3]))
        for by_server in (self._of.tool_calls, self._of.upstream_seconds):
            by_server.keep(lambda labels: labels[1] == OTHER or known_server(labels[1]))

    async def exposition(self, tenant: str | None = None) -> bytes:
        """Return every series in the Prometheus text format, version 0.0.4, or those of one tenant alone.

        Others get their turn meanwhile: ten thousand tenants have a hundred thousand samples.
        """
        wanted = None if tenant is None else of_tenant(tenant)
        parts: list[str] = []
        for series in tuple(self._series):
            written = len(parts)
            for number, line in enumerate(series.lines(wanted)):
                if line:
                    parts.append(line)
                if number % SAMPLES_A_TURN == SAMPLES_A_TURN - 1:
                    await asyncio.sleep(0)
            if wanted is None or len(parts) > written:
                parts.insert(written, series.about.head())
        ours = "".join(parts).encode()
        return ours if wanted else ours + generate_latest(self._process)

    def _tenant(self, tenant: str | None) -> str:
        if not tenant:
            return ""
        return tenant if self._known_tenant(tenant) else OTHER

    def _reason(self, event: AuditEvent) -> str:
        """Return the reason's label. Custom policy may write what a caller sent into a code: so many are told apart."""
        code = event.reason or ""
        if event.policy.get("layer") != CUSTOM or code in self._codes:
            return code
        if len(self._codes) >= MAX_CODES or len(code) > MAX_CODE_LENGTH:
            return OTHER
        self._codes.add(code)
        return code


def came_of(event: AuditEvent) -> str:
    """Return what came of a call: `refused` by policy, `success`, `tool_error` (`isError`), or why it failed."""
    if event.type == DENIED:
        return "refused"
    if event.outcome == "success":
        return "tool_error" if event.target.get("is_error") else "success"
    return event.reason or "failed"


def of_tenant(tenant: str) -> Wanted:
    """Return what picks the series of one tenant: those with its label, and those of servers of its own.

    A tenant that is called `other` shares that label with all who are not known, so nothing is picked for it.
    """

    def wanted(names: Sequence[str]) -> Callable[[Labels], bool] | None:
        if tenant == OTHER:
            return None
        if "tenant" in names:
            at = names.index("tenant")
            return lambda labels: labels[at] == tenant
        if "server" in names:
            at = names.index("server")
            return lambda labels: labels[at].rpartition(":")[0] == tenant
        return None

    return wanted
