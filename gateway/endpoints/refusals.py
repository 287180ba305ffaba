"""What is refused before policy is asked: recorded with its true reason, folded in floods, slowed where it guesses.

Only failures are slowed (A51): whoever has a good credential is let in from whatever address, and a client that merely
has no credential yet, or a token that has run out, is told so at once, because its next step is to fetch one.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from gateway import audit
from gateway.authn.failures import FailureTally, key_of
from gateway.errors import CredentialUndecided, ExpiredToken, InvalidCredential, TooManyRequests
from gateway.gcra import Limiter, Rate

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.audit import AuditTrail
    from gateway.errors import CredentialError, GatewayError
    from gateway.model import Principal, RequestInfo
    from gateway.recording import Caller

# Secrets of 256 bits are not guessed at any rate; this keeps a broken or hostile client from filling logs and alerts.
# The burst is as large as what is audited one by one.
GUESSES = Rate(per_minute=10, burst=10)
# More than a person or a pipeline asks for, and less than keeps the ledger busy.
ADMIN_REQUESTS = Rate(per_minute=1200, burst=300)


class Refusals:
    """Records refusals in the trail, and says who has to wait. `clock` is in seconds and never runs backwards."""

    def __init__(self, trail: AuditTrail, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._trail = trail
        self._clock = clock
        self._tallies = {
            "AuthenticationFailed": FailureTally(),
            "AuthenticationLimited": FailureTally(reported=1),
            "RequestRefused": FailureTally(),
        }
        self._guesses = Limiter()
        self._admin_requests = Limiter()

    def unauthenticated(self, info: RequestInfo, error: CredentialError) -> GatewayError:
        """Record a failed authentication and return what to refuse it with: the error, or that it was one too many."""
        actor = {"kind": error.kind} if isinstance(error, InvalidCredential) else {}
        if seconds := self._guessed(info, error):
            self._note("AuthenticationLimited", info, reason="too_many_failures", actor=actor)
            return TooManyRequests("Too many failed authentications from this address", seconds)
        outcome = "error" if isinstance(error, CredentialUndecided) else "failure"
        target = {"detail": audit.clipped(str(error))}
        self._note("AuthenticationFailed", info, outcome, reason=error.reason, actor=actor, target=target)
        return error

    def malformed(self, info: RequestInfo, why: str, principal: Principal | None = None) -> None:
        """Record a request that was refused before any decision."""
        who = _of(principal) if principal else {}
        self._note("RequestRefused", info, reason="malformed_request", target={"detail": audit.clipped(why)}, **who)

    def crowded(self, info: RequestInfo) -> None:
        """Record a request whose body there was no room for."""
        self._note("RequestRefused", info, reason="too_much_at_once")

    def require_admin_rate(self, caller: Caller) -> None:
        """Raise TooManyRequests for a principal that asks the admin API too often."""
        principal = caller.principal
        if seconds := self._admin_requests.take(principal.identity, ADMIN_REQUESTS, self._clock()):
            self._note("RequestRefused", caller.request, reason="too_many_requests", **_of(principal))
            raise TooManyRequests("Too many admin requests", seconds)

    def foreign_tenant(self, caller: Caller, tenant: str) -> None:
        """Record a request that names a tenant that is not its credential's; each one, for somebody is behind it."""
        self._trail.record(
            audit.event(
                "AuthorizationDenied",
                "failure",
                reason="tenant_mismatch",
                source=audit.source_of(caller.request),
                target={"tenant": audit.clipped(tenant)},
                **_of(caller.principal),
            )
        )

    def record_folded(self, *, everything: bool = False) -> None:
        """Record the counts of refusals that were not recorded one by one, of the minutes that are over."""
        for type_, tally in self._tallies.items():
            for folded in tally.due(self._clock(), everything=everything):
                source = {"ip": folded.address}
                self._trail.record(audit.event(type_, "failure", reason="repeated", source=source, count=folded.count))

    def _guessed(self, info: RequestInfo, error: CredentialError) -> float:
        if not isinstance(error, InvalidCredential) or isinstance(error, ExpiredToken):
            return 0.0
        return self._guesses.take(key_of(info.ip), GUESSES, self._clock())

    def _note(self, type_: str, info: RequestInfo, outcome: str = "failure", **more: Any) -> None:
        if self._tallies[type_].note(info.ip, self._clock()):
            self._trail.record(audit.event(type_, outcome, source=audit.source_of(info), **more))


def _of(principal: Principal) -> dict[str, Any]:
    return {"tenant": principal.tenant, "actor": audit.actor_of(principal)}
