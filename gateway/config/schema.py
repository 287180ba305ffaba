"""config.yaml as frozen typed objects; an attribute is named as its key (docs/configuration.md)."""

import re
import socket
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema

from gateway.config.references import Context
from gateway.config.servers import GlobalProjection, Server, Tenant
from gateway.config.values import (
    ROLES,
    BindHost,
    Count,
    Flag,
    HeaderName,
    Host,
    HttpUrl,
    Listen,
    Network,
    OpaUrl,
    Origin,
    Port,
    PrincipalName,
    ReplicaName,
    Role,
    Section,
    ServerId,
    TenantId,
    Text,
)
from gateway.model import TENANT_ID, Mode

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]


def default_replica() -> str:
    """Return this machine's host name, as a replica's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", socket.gethostname())[:64].strip("-") or "gateway"


def _in_folder(value: Path, info: ValidationInfo) -> Path:
    folder = info.context.folder if isinstance(info.context, Context) else Path()
    return Path(folder / value.expanduser())


def _role_or_none(value: Any) -> Any:
    if value is None:
        raise ValueError("is empty; write none to give no default role")
    return None if value == "none" else value


def _some(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise ValueError("needs at least one; remove the key for the usual ones")
    return value


def _scope(value: str) -> str:
    kind, _, tenant = value.partition(":")
    if value != "global" and not (kind == "tenant" and TENANT_ID.fullmatch(tenant)):
        raise ValueError(f"{value!r} must be global or tenant:<tenant id> (for the tenant a:b it reads tenant:a:b)")
    return value


def _storage(value: str, info: ValidationInfo) -> str:
    if value.startswith(("postgresql:", "postgres:")):
        raise ValueError("PostgreSQL is not supported by this version; use sqlite:///path/to/portcullis.db")
    if not value.startswith("sqlite:///") or not value.removeprefix("sqlite:///"):
        raise ValueError("must be sqlite:///path (relative to this file) or sqlite:////path (absolute)")
    return f"sqlite:///{_in_folder(Path(value.removeprefix('sqlite:///')), info).absolute()}"


FilePath = Annotated[Path, AfterValidator(_in_folder)]
Scope = Annotated[str, AfterValidator(_scope)]
StorageUrl = Annotated[str, AfterValidator(_storage)]
DefaultRole = Annotated[Role | None, BeforeValidator(_role_or_none), WithJsonSchema({"enum": [*ROLES, "none"]})]


class ToolAccess(Section):
    """Who is let in at all."""

    mode: Mode = Mode.EGRESS


class Tls(Section):
    """The server's own certificate and key, in PEM."""

    cert_file: FilePath
    key_file: FilePath


class ServerSettings(Section):
    """The address and the limits of the gateway's own listener."""

    host: BindHost = "127.0.0.1"
    port: Port = 8000
    tls: Tls | None = None
    trusted_proxies: tuple[Network, ...] = ()
    allowed_hosts: tuple[Host, ...] = ()
    allowed_origins: tuple[Origin, ...] = ()
    max_body_bytes: Annotated[int, Field(strict=True, ge=1024, le=256 * 1024 * 1024)] = 4194304
    drain_seconds: Annotated[float, Field(strict=True, ge=0, le=3600, allow_inf_nan=False)] = 20.0


class ApiKey(Section):
    """API keys, and the header that carries them beside `Authorization: Bearer`."""

    enabled: Flag = True
    header_name: HeaderName = "X-API-Key"


class Oidc(Section):
    """The one issuer whose JWTs are accepted."""

    enabled: Flag = False
    issuer: HttpUrl | None = None
    audience: Annotated[Text, Field(min_length=1)] | None = None
    resource_uri: HttpUrl | None = None
    jwks_uri: HttpUrl | None = None
    subject_claim: Annotated[Text, Field(min_length=1)] = "sub"
    groups_claim: Annotated[Text, Field(min_length=1)] = "groups"
    tenant_claim: Annotated[Text, Field(min_length=1)] = "tenant_id"
    algorithms: Annotated[tuple[Algorithm, ...], AfterValidator(_some)] = (
        "RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519",
    )  # fmt: skip
    leeway_seconds: Annotated[int, Field(strict=True, ge=0, le=120)] = 30
    token_types: Annotated[tuple[Annotated[Text, Field(min_length=1)], ...], AfterValidator(_some)] = ("at+jwt", "JWT")
    scopes: tuple[Annotated[str, Field(pattern=r"^[!#-\[\]-~]+$")], ...] = ()
    tenants: tuple[TenantId, ...] = ()
    allow_insecure_issuer: Flag = False
    allowed_networks: tuple[Network, ...] = ()


class RoleAssignment(Section):
    """A role that files give to a principal, everywhere or in one tenant."""

    principal: PrincipalName
    role: Role
    scope: Scope
    issuer: HttpUrl | None = None


class ExternalOpa(Section):
    """Where OPA is; without `url` it is a supervised child."""

    enabled: Flag = True
    url: OpaUrl | None = None
    policy_path: Text = "portcullis"


class Auth(Section):
    """Who a caller is, and what it may do when nobody said."""

    enabled: Flag = False
    allow_anonymous: Flag = False
    default_role: DefaultRole = "developer"
    api_key: ApiKey = ApiKey()
    oidc: Oidc = Oidc()
    role_assignments: tuple[RoleAssignment, ...] = ()
    opa: ExternalOpa = ExternalOpa()


class Opa(Section):
    """How OPA is run and asked."""

    binary: FilePath | None = None
    on_stale: Literal["serve", "deny"] = "serve"
    max_staleness_seconds: Annotated[int, Field(strict=True, ge=1)] = 300
    deadline_ms: Annotated[int, Field(strict=True, ge=1, le=10000)] = 250
    max_arguments_bytes: Annotated[int, Field(strict=True, ge=0, le=16 * 1024 * 1024)] = 65536
    custom_policies: FilePath | None = None
    replica: ReplicaName = Field(default_factory=default_replica)


class Sync(Section):
    """Where the sync service listens, or is found, and the files that both sides share."""

    listen: Listen | None = None
    url: HttpUrl | None = None
    token_file: FilePath | None = None
    signing_key_file: FilePath | None = None


class Storage(Section):
    """Where the ledger lies; without `url` it is in the state directory."""

    url: StorageUrl | None = None


class AuditSettings(Section):
    """What becomes of audit events besides the ledger."""

    file: FilePath | None = None
    include_arguments: Flag = False
    retention_days: Count = 90


class MetricsSettings(Section):
    """A listener of its own for metrics; without `listen` they are served beside the rest, to who may read them."""

    listen: Listen | None = None


class LoggingSettings(Section):
    """How the process logs."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "json"


class Config(Section):
    """The whole of config.yaml."""

    tool_access: ToolAccess = ToolAccess()
    server: ServerSettings = ServerSettings()
    auth: Auth = Auth()
    opa: Opa = Opa()
    sync: Sync = Sync()
    storage: Storage = Storage()
    tenants: tuple[Tenant, ...] = ()
    mcp_servers: dict[ServerId, Server] = Field(default={})
    tool_projection: GlobalProjection = GlobalProjection()
    audit: AuditSettings = AuditSettings()
    metrics: MetricsSettings = MetricsSettings()
    logging: LoggingSettings = LoggingSettings()
