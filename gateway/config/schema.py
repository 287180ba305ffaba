"""config.yaml as frozen typed objects; an attribute is named as its key (docs/configuration.md)."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from gateway.config.paths import FilePath
from gateway.config.processes import (
    AuditSettings,
    LoggingSettings,
    MetricsSettings,
    Opa,
    ServerSettings,
    Stdio,
    Storage,
    Sync,
    TracingSettings,
)
from gateway.config.sections import Section
from gateway.config.servers import GlobalProjection, Server
from gateway.config.tenants import Tenant
from gateway.config.values import (
    Flag,
    Grant,
    HeaderName,
    HttpUrl,
    Network,
    OpaUrl,
    PrincipalName,
    RoleName,
    ServerId,
    TenantId,
    Text,
)
from gateway.ids import TENANT_ID, Mode
from gateway.permissions import BUILT_IN

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]


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


Scope = Annotated[str, AfterValidator(_scope)]
DefaultRole = Annotated[RoleName | None, BeforeValidator(_role_or_none), WithJsonSchema({"type": "string"})]


class ToolAccess(Section):
    """Who is let in at all."""

    mode: Mode = Mode.EGRESS


class ApiKey(Section):
    """API keys, and the header that carries them beside `Authorization: Bearer`."""

    enabled: Flag = True
    header_name: HeaderName = "X-API-Key"
    allow_non_expiring: Flag = False


class TrustedIssuer(Section):
    """An issuer whose JWTs are accepted, and what they must say."""

    issuer: HttpUrl | None = None
    audience: Annotated[Text, Field(min_length=1)] | None = None
    jwks_uri: HttpUrl | None = None
    subject_claim: Annotated[Text, Field(min_length=1)] = "sub"
    groups_claim: Annotated[Text, Field(min_length=1)] = "groups"
    tenant_claim: Annotated[Text, Field(min_length=1)] = "tenant_id"
    algorithms: Annotated[tuple[Algorithm, ...], AfterValidator(_some)] = (
        "RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519",
    )  # fmt: skip
    leeway_seconds: Annotated[int, Field(strict=True, ge=0, le=120)] = 30
    token_types: Annotated[tuple[Annotated[Text, Field(min_length=1)], ...], AfterValidator(_some)] = ("at+jwt", "JWT")
    tenants: tuple[TenantId, ...] = ()
    allow_insecure_issuer: Flag = False
    allowed_networks: tuple[Network, ...] = ()


class Oidc(TrustedIssuer):
    """The issuers whose JWTs are accepted: one, written here, or several, in `issuers`."""

    enabled: Flag = False
    resource_uri: HttpUrl | None = None
    scopes: tuple[Annotated[str, Field(pattern=r"^[!#-\[\]-~]+$")], ...] = ()
    issuers: tuple[TrustedIssuer, ...] = ()

    @property
    def trusted(self) -> tuple[TrustedIssuer, ...]:
        """The issuers, whichever way they are written; none while `enabled` is false."""
        if not self.enabled:
            return ()
        return self.issuers or ((self,) if self.issuer else ())


class RoleAssignment(Section):
    """A role that files give to a principal, everywhere or in one tenant."""

    principal: PrincipalName
    role: RoleName
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
    act_as_on_mcp: Flag = False
    max_stale_seconds: Annotated[int, Field(strict=True, ge=1)] = 300
    api_key: ApiKey = ApiKey()
    oidc: Oidc = Oidc()
    roles: dict[RoleName, tuple[Grant, ...]] = Field(default={})
    role_assignments: tuple[RoleAssignment, ...] = ()
    opa: ExternalOpa = ExternalOpa()

    @property
    def every_role(self) -> dict[str, tuple[str, ...]]:
        """Every role with what it grants: those that come with the product, and those of `roles`."""
        return {**self.roles, **BUILT_IN}

    @property
    def admin_roles(self) -> frozenset[str]:
        """The roles that grant everything."""
        return frozenset(name for name, grants in self.every_role.items() if "*" in grants)


class Config(Section):
    """The whole of config.yaml."""

    tool_access: ToolAccess = ToolAccess()
    server: ServerSettings = ServerSettings()
    auth: Auth = Auth()
    opa: Opa = Opa()
    sync: Sync = Sync()
    storage: Storage = Storage()
    stdio: Stdio = Stdio()
    tenants_file: FilePath | None = None
    tenants: tuple[Tenant, ...] = ()
    mcp_servers: dict[ServerId, Server] = Field(default={})
    tool_projection: GlobalProjection = GlobalProjection()
    audit: AuditSettings = AuditSettings()
    metrics: MetricsSettings = MetricsSettings()
    tracing: TracingSettings = TracingSettings()
    logging: LoggingSettings = LoggingSettings()
