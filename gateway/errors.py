"""One error tree; it knows no HTTP (`endpoints/problems.py` has the statuses).

A room may add kinds of its own below these, for what its neighbours need not tell apart.

GatewayError
├── ConfigError                  the files are wrong; carries every mistake
├── CredentialError              who is asking cannot be settled
│   ├── CredentialRequired       nothing was presented where something must be
│   ├── InvalidCredential        presented and bad: unknown, revoked, expired, malformed
│   │   └── ExpiredToken         a token that its issuer did sign, and whose time is over
│   ├── AmbiguousCredential      more than one, or one in a place where none may be
│   └── CredentialUndecided      whether it is good cannot be told now; worth a retry
│       ├── KeysUnavailable      the issuer's keys cannot be had
│       └── LedgerStale          the ledger has been away for too long to believe in keys and tokens
├── TooManyRequests              too often; worth a retry after a while
│   └── OverLimit                a tenant has used up what it may have
├── Crowded                      there is no room for a body beside those that others are sending
├── TenantMismatch               an asserted tenant is not the credential's
├── Refused                      policy decided against it; carries the reasons
│   ├── NotVisible               the caller must not learn that it exists
│   └── NotPermitted             the caller may know it and may not do it
├── DecisionUnavailable          OPA gave no decision that may be trusted
├── EngineMissing                there is no OPA on this machine that may be run
├── UpstreamFailed               a server gave no usable answer
├── StateRefused                 a call's state is not what was handed out for this very call
├── HeadersDisagree              headers say other arguments than the body
├── UnknownSession               an agent's session is not one, not its own, or over
├── TooManyStreams               there are as many open as there may be
├── NotFound                     an admin named a server or tenant that is not configured
├── InvalidBody                  an admin body is not what the route takes
├── LastAdmin                    nobody would be left who is an admin everywhere
└── Unavailable                  the ledger or the audit trail cannot be written
    └── OutcomeUnknown           it was lost in the middle of a commit
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.model import Reason


class GatewayError(Exception):
    """Anything this gateway says no with."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing wrong in a file: `path` is dotted (`mcp_servers.payments.endpont`), `line` counts from 1."""

    file: str
    path: str
    line: int | None
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (where, self.path, self.message) if part)


class ConfigError(GatewayError):
    """The configuration is refused whole; `mistakes` has every one found."""

    def __init__(self, mistakes: tuple[Mistake, ...]) -> None:
        self.mistakes = mistakes
        super().__init__("\n".join(map(str, mistakes)))


class CredentialError(GatewayError):
    """The caller could not be authenticated; the text is for the audit event, never for the caller."""

    reason = "invalid_credential"


class CredentialRequired(CredentialError):
    """No credential was presented."""

    reason = "unauthenticated"


class InvalidCredential(CredentialError):
    """A credential was presented and is not good; `kind` is what it looked like (`jwt`, `api_key`, `unknown`)."""

    def __init__(self, why: str, kind: str = "unknown") -> None:
        self.kind = kind
        super().__init__(why)


class ExpiredToken(InvalidCredential):
    """A token that its issuer did sign, and whose time is over: what an honest client has in hand, and no guess."""


class AmbiguousCredential(CredentialError):
    """Two credentials, or one in the query string."""

    reason = "ambiguous_credential"


class CredentialUndecided(CredentialError):
    """Whether a credential is good cannot be told now; `retry_after` is in seconds.

    Not InvalidCredential, which would send people to log in again, or make a client throw a good key away.
    """

    def __init__(self, why: str, retry_after: int = 5) -> None:
        self.retry_after = retry_after
        super().__init__(why)


class KeysUnavailable(CredentialUndecided):
    """The issuer's signing keys cannot be had."""

    reason = "issuer_unavailable"


class LedgerStale(CredentialUndecided):
    """The ledger has not been read for so long that a key or token may have been revoked meanwhile."""

    reason = "ledger_unavailable"


class TooManyRequests(GatewayError):
    """Too often; `retry_after` is in seconds, above 0."""

    def __init__(self, why: str, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(why)


class Crowded(GatewayError):
    """There is no room for what somebody sends beside what is being read from others; worth a retry."""


REASONS = {"requests_per_minute": "over_rate", "max_concurrent_requests": "over_concurrency"}


class OverLimit(TooManyRequests):
    """A tenant has used up what it may have of `limit`, the name of the quota in tenants.yaml."""

    def __init__(self, limit: str, retry_after: float) -> None:
        self.limit = limit
        self.reason = REASONS[limit]
        super().__init__(f"The tenant is at its {limit}", retry_after)


class TenantMismatch(GatewayError):
    """The request asserts a tenant that is not its credential's; `tenant` is what it said."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        super().__init__(tenant)


class Refused(GatewayError):
    """Policy said no; `reasons` are what it said."""

    def __init__(self, reasons: tuple[Reason, ...]) -> None:
        self.reasons = reasons
        super().__init__(", ".join(reason.code for reason in reasons) or "refused")


class NotVisible(Refused):
    """What was asked for must look as if it did not exist."""


class NotPermitted(Refused):
    """What was asked for may be known and may not be done."""


class DecisionUnavailable(GatewayError):
    """No decision could be had that may be trusted; nothing is admitted."""


class EngineMissing(GatewayError):
    """There is no OPA to run, or the one that was named may not be trusted; the text says what to do."""


class UpstreamFailed(GatewayError):
    """A server gave no usable answer; `why` is a verb phrase (`cannot be reached`), safe to show to an agent."""

    def __init__(self, server: str, why: str) -> None:
        self.server = server
        self.why = why
        super().__init__(f"{server}: {why}")


class StateRefused(GatewayError):
    """The state that came with a call is not one that was handed out for it; the text is for the trail alone."""


class HeadersDisagree(GatewayError):
    """A header that repeats an argument is missing, is one too many, or says something else; the text may be shown."""


class UnknownSession(GatewayError):
    """There is no such session, as far as this caller may know."""


class TooManyStreams(GatewayError):
    """As many streams are open as there may be; `retry_after` is in seconds."""

    def __init__(self, why: str, retry_after: int = 5) -> None:
        self.retry_after = retry_after
        super().__init__(why)


class NotFound(GatewayError):
    """An admin named something that is not configured."""


class InvalidBody(GatewayError):
    """A body is not what the route takes; `errors` are (field, what is wrong with it)."""

    def __init__(self, errors: tuple[tuple[str, str], ...]) -> None:
        self.errors = errors
        super().__init__("; ".join(f"{name}: {why}" if name else why for name, why in errors))


class LastAdmin(GatewayError):
    """A mutation would have left no live global admin where there was one; nothing was changed."""


class Unavailable(GatewayError):
    """The ledger or the audit trail cannot be reached, so nothing may be promised."""


class OutcomeUnknown(Unavailable):
    """The ledger was lost while it committed a change, which may be in force or not; looking again tells."""
