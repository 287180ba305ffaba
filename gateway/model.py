"""The vocabulary: frozen values that pass between rooms. Standard library only."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVER_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
TENANT_ID = re.compile(r"(?!_)[A-Za-z0-9._:-]{1,128}")
TOOL_NAME = re.compile(r"[A-Za-z0-9_./-]{1,128}")
# What OPA is fed, by the names that sync serves, OPA is configured with and policy looks for.
BUNDLES = ("policy", "custom", "tenants", "live")


class Mode(StrEnum):
    """Who is let in: trusted callers of a private network, or known tenants only."""

    EGRESS = "egress"
    FRONT_DOOR = "front_door"


class View(StrEnum):
    """Which endpoint asked: all offered servers under flat names, or one server under its own."""

    FLAT = "flat"
    SERVER = "server"


class Kind(StrEnum):
    """What a server offers, and policy speaks of."""

    TOOL = "tool"
    PROMPT = "prompt"
    RESOURCE = "resource"


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
    """The credential behind a principal, without its secret. `expires_at` is in seconds since the epoch."""

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


def flat_name(server: str, tool: str, mode: Mode) -> str:
    """Return the name under which agents see a tool at an endpoint that shows several servers."""
    return tool if mode is Mode.FRONT_DOOR else f"{server}__{tool}"


ANONYMOUS = Principal(subject="anonymous", kind=CredentialKind.ANONYMOUS)


@dataclass(frozen=True, slots=True)
class ToolRef:
    """One tool of one server; written `server/tool`, its canonical id (a server id has no slash)."""

    server: str
    tool: str

    @classmethod
    def parse(cls, id_: str) -> ToolRef:
        """Split a canonical id; raises ValueError where there is no server or no tool."""
        server, slash, tool = id_.partition("/")
        if not (slash and server and tool):
            raise ValueError(f"not a canonical id: {id_!r}")
        return cls(server, tool)

    def __str__(self) -> str:
        return f"{self.server}/{self.tool}"


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """Facts about one request that the gateway vouches for. `time` is in seconds since the epoch."""

    id: str
    ip: str
    time: int


@dataclass(frozen=True, slots=True)
class Question:
    """One question to OPA; `pdp.question` writes it as the input document (docs/policy.md).

    `name` is what the agent asked for, or the tool of an admin action; `tenant` and `server` name the
    target of an admin action. `arguments` are sent only while custom policy exists.
    """

    action: str
    principal: Principal
    request: RequestInfo
    view: View = View.FLAT
    server: str | None = None
    name: str | None = None
    tenant: str | None = None
    arguments: Mapping[str, Any] | None = None
    client: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why policy refused: a code of the closed list in docs/reasons.md, its layer, and what else the layer said."""

    code: str
    layer: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What every decision carries. `epoch` and `revision` say which state of the ledger was asked."""

    allow: bool
    epoch: str
    revision: int
    stale: bool = False
    reasons: tuple[Reason, ...] = ()
    obligations: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CallDecision(Verdict):
    """May this call be made, may its tool be seen, and which backend tool is it."""

    visible: bool = False
    ref: ToolRef | None = None


@dataclass(frozen=True, slots=True)
class ListDecision(Verdict):
    """Which tools are visible, by canonical id, sorted."""

    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AdminDecision(Verdict):
    """May this admin action be taken, and by which roles."""

    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A tool taken away at runtime; `tenant` None means from everybody. `at` is in milliseconds since the epoch."""

    ref: ToolRef
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

    `id` is a UUIDv7; `type` one of docs/audit.md; `outcome` is success, failure or error. `count` above one
    says that so many alike were folded into this one.
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
