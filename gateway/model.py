"""The vocabulary: frozen values that pass between rooms. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.ids import Kind, Ref

# What OPA is fed, by the names that sync serves, OPA is configured with and policy looks for.
BUNDLES = ("policy", "custom", "tenants", "live")


class View(StrEnum):
    """Which endpoint asked: all offered servers under flat names, or one server under its own."""

    FLAT = "flat"
    SERVER = "server"


class CredentialKind(StrEnum):
    """What proved the principal; also `input.principal.kind` in policy.

    `local` is the one agent of `portcullis stdio`: that its process was started is all the proof there is.
    """

    ANONYMOUS = "anonymous"
    API_KEY = "api_key"
    TENANT_KEY = "tenant_key"
    TENANT_TOKEN = "tenant_token"  # noqa: S105 (a kind, no secret)
    JWT = "jwt"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class CredentialRef:
    """The credential behind a principal, without its secret. `expires_at` is in seconds since the epoch.

    `scope` names the ids beyond which it sees nothing (`keys.scope_of`); None narrows nothing.
    """

    id: str
    role: str | None = None
    scope: str | None = None
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom a verified credential speaks for; `subject` is prefixed: `user:`, `service:`, `token:`, or is `anonymous`.

    `acting_for` is the tenant that a principal without one has selected; whether it may is policy's to say.
    """

    subject: str
    kind: CredentialKind
    tenant: str | None = None
    issuer: str | None = None
    groups: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    credential: CredentialRef | None = None
    acting_for: str | None = None

    @property
    def identity(self) -> tuple[str | None, ...]:
        """What tells one caller from every other: a subject alone does not, for two issuers may both know a `jo`."""
        return (self.kind, self.issuer, self.tenant, self.acting_for, self.subject)

    @property
    def for_tenant(self) -> str | None:
        """The tenant whose tools, slots and rates a request is about, once policy has admitted it."""
        return self.acting_for if self.tenant is None else self.tenant


ANONYMOUS = Principal(subject="anonymous", kind=CredentialKind.ANONYMOUS)


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """Facts about one request that the gateway vouches for. `time` is in seconds since the epoch."""

    id: str
    ip: str
    time: int


@dataclass(frozen=True, slots=True)
class Grant:
    """A role that an admin action hands out at a scope: `global`, or `tenant:<tenant id>`."""

    role: str
    scope: str


@dataclass(frozen=True, slots=True)
class Question:
    """One question to OPA; `pdp.question` writes it as the input document (docs/policy.md).

    `name` is what the agent asked for, or the tool of an admin action; `tenant` and `server` name the
    target of an admin action, which hands out what `grants` says. Only of a completion the `kind` must be said: every
    other action has one. `templates` are the registered templates that a resource's URI matches. `arguments` are sent
    only while custom policy exists.
    """

    action: str
    principal: Principal
    request: RequestInfo
    kind: Kind | None = None
    view: View = View.FLAT
    server: str | None = None
    name: str | None = None
    templates: tuple[str, ...] = ()
    tenant: str | None = None
    grants: Grant | None = None
    arguments: Mapping[str, Any] | None = None
    client: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why policy refused: a code of the closed list in docs/reasons.md, its layer, and what else the layer said."""

    code: str
    layer: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a tenant may use at most; None where there is no limit."""

    max_concurrent_requests: int | None = None
    requests_per_minute: int | None = None


UNLIMITED = Limits()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What every decision carries: `epoch`, `revision` and `config` say by which ledger and configuration it judges.

    `config` is the first 16 digits of that configuration's hash. `limits` oblige the gateway.
    """

    allow: bool
    epoch: str
    revision: int
    config: str = ""
    stale: bool = False
    reasons: tuple[Reason, ...] = ()
    limits: Limits = UNLIMITED


@dataclass(frozen=True, slots=True)
class CallDecision(Verdict):
    """May this call be made, may its target be seen, and what of which server is it."""

    visible: bool = False
    ref: Ref | None = None


@dataclass(frozen=True, slots=True)
class ListDecision(Verdict):
    """What of a kind is visible, by canonical id, sorted."""

    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AdminDecision(Verdict):
    """May this admin action be taken, and by which roles."""

    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """Something taken away at runtime; `tenant` None means from everybody. `at` is in milliseconds since the epoch."""

    ref: Ref
    tenant: str | None
    by: str
    at: int


@dataclass(frozen=True, slots=True)
class Credential:
    """A key or token as the ledger keeps it: the SHA-256 of the secret, never the secret. Times in milliseconds.

    `tools` are globs over canonical ids beyond which a token sees nothing; none narrow it not at all.
    """

    id: str
    hash: str
    prefix: str
    principal: str
    name: str
    role: str | None
    tenant: str | None
    created_at: int
    created_by: str
    expires_at: int | None = None
    revoked_at: int | None = None
    revoked_by: str | None = None
    kind: CredentialKind = CredentialKind.API_KEY
    tools: tuple[str, ...] = ()
    last_used_at: int | None = None
    replaced_by: str | None = None


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One decision or admin action, as it is kept and written (docs/audit.md). `time` in milliseconds.

    `id` is a UUIDv7; `outcome` is success, failure or error; `count` above one says that so many are folded into it.
    """

    id: str
    time: int
    type: str
    outcome: str
    reason: str | None = None
    tenant: str | None = None
    actor: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    target: Mapping[str, Any] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)
    latency_ms: float | None = None
    count: int = 1
