"""One request, one audit event: what is learnt on the way is noted here and recorded on the only exit."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from gateway import audit
from gateway.errors import (
    DecisionUnavailable,
    HeadersDisagree,
    InvalidBody,
    InvalidCredential,
    LastAdmin,
    NotFound,
    OverLimit,
    Refused,
    StateRefused,
    Unavailable,
    UpstreamFailed,
)
from gateway.mcp.trace_context import without_baggage
from gateway.model import View
from gateway.upstream.call import Parted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import TracebackType
    from typing import TypeVar

    from gateway.ids import Ref
    from gateway.model import AuditEvent, Principal, RequestInfo, Verdict
    from gateway.tracing import Trace

    AnyVerdict = TypeVar("AnyVerdict", bound=Verdict)
    T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, from where, through which endpoint. `client` is what the agent says of itself, believed by nobody."""

    principal: Principal
    request: RequestInfo
    view: View = View.FLAT
    server: str | None = None
    client: Mapping[str, Any] = field(default_factory=dict)
    trace: Trace | None = None


class Recording:
    """Notes of one request; leaving the block records exactly one event, whatever happened inside."""

    def __init__(self, trail: audit.AuditTrail, caller: Caller, action: str, granted: str, **target: Any) -> None:
        self._trail = trail
        self._caller = caller
        self._granted = granted
        self._started = time.perf_counter()
        self._verdict: Verdict | None = None
        self._decision_seconds: float | None = None
        self._elsewhere = False
        self.admitted = False
        """Whether it went on although the decision alone does not say so."""
        view = {"view": caller.view.value, "at": caller.server} if caller.view is View.SERVER else {}
        self.target: dict[str, Any] = {"action": action, **view, **target}

    async def decided(self, question: Awaitable[AnyVerdict]) -> AnyVerdict:
        """Await a decision and note it and how long it took."""
        started = time.perf_counter()
        verdict = None
        try:
            verdict = await question
        finally:
            self._decision_seconds = time.perf_counter() - started
            if self._caller.trace is not None:
                self._caller.trace.decided(self._decision_seconds, verdict)
        self._verdict = verdict
        return verdict

    def onward(self, meta: Mapping[str, Any], ref: Ref) -> Mapping[str, Any]:
        """Return an agent's `_meta` as it goes on to a server."""
        trace = self._caller.trace
        return without_baggage(meta) if trace is None else trace.onward(meta, ref)

    async def forwarded(self, answer: Awaitable[T]) -> T:
        """Await a server's answer and note how long it took."""
        started = time.perf_counter()
        try:
            return await answer
        finally:
            # A server is not slow because an agent was asked something meanwhile.
            self.target["seconds"] = time.perf_counter() - started - self.target.get("waited_seconds", 0.0)

    async def mutated(self, mutation: Callable[[AuditEvent], Awaitable[T]]) -> T:
        """Await a mutation of the ledger that writes the event in its own transaction; None is that nothing changed."""
        event = self._event(self._granted, "success", None)
        result = await mutation(event)
        if result is None:
            return result
        self._elsewhere = True
        self._trail.record_elsewhere(event)
        return result

    def __enter__(self) -> Self:
        self._trail.require_room()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._elsewhere:
            event = self._outcome(error)
            self._trail.record(event)
            if self._caller.trace is not None:
                self._caller.trace.noted(event)

    def _outcome(self, error: BaseException | None) -> AuditEvent:
        match error:
            case None | Parted():
                refused = self._verdict is not None and not self._verdict.allow and not self.admitted
                return self._denied() if refused else self._event(self._granted, "success", None)
            case Refused() | InvalidCredential():
                return self._denied()
            case OverLimit():
                return self._event("RequestLimited", "failure", error.reason)
            case DecisionUnavailable():
                self.target["detail"] = audit.clipped(str(error))
                return self._event("AuthorizationDenied", "error", "engine_unavailable")
            case _:
                return self._not_done(error)

    def _not_done(self, error: BaseException) -> AuditEvent:
        """Return the event of what was admitted and came to nothing."""
        match error:
            case NotFound():
                return self._event(self._granted, "failure", "not_found")
            case LastAdmin():
                return self._event(self._granted, "failure", "last_admin")
            case InvalidBody():
                self.target["detail"] = audit.clipped(str(error))
                return self._event(self._granted, "failure", "malformed_request")
            case UpstreamFailed():
                self.target["detail"] = audit.clipped(error.why)
                return self._event(self._granted, "error", "upstream_failed")
            case StateRefused() | HeadersDisagree():
                self.target["detail"] = audit.clipped(str(error))
                reason = "request_state" if isinstance(error, StateRefused) else "malformed_request"
                return self._event("AuthorizationDenied", "failure", reason)
            case asyncio.CancelledError():
                if error.args:
                    self.target["detail"] = audit.clipped(str(error.args[0]))
                return self._event(self._granted, "error", "cancelled")
            case Unavailable():
                return self._event(self._granted, "error", "ledger_unavailable")
            case _:
                self.target["detail"] = audit.clipped(type(error).__name__)
                return self._event(self._granted, "error", "failed")

    def _denied(self) -> AuditEvent:
        reasons = self._verdict.reasons if self._verdict else ()
        return self._event("AuthorizationDenied", "failure", reasons[0].code if reasons else "policy_error")

    @property
    def _tenant(self) -> str | None:
        """The caller's own tenant; one that it has selected counts as soon as policy says that it may act for it."""
        admitted = self.admitted or (self._verdict is not None and self._verdict.allow)
        return self._caller.principal.for_tenant if admitted else self._caller.principal.tenant

    def _event(self, type_: str, outcome: str, reason: str | None) -> AuditEvent:
        policy = audit.policy_of(self._verdict) if self._verdict else {}
        if self._decision_seconds is not None:
            policy["seconds"] = self._decision_seconds
        return audit.event(
            type_,
            outcome,
            reason=reason,
            tenant=self._tenant,
            actor=audit.actor_of(self._caller.principal),
            source=audit.source_of(self._caller.request),
            target=self.target,
            policy=policy,
            latency_ms=(time.perf_counter() - self._started) * 1000,
        )
