"""The sections that describe MCP servers, and who may see what of them."""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from gateway.addresses import Addresses
from gateway.config.headers import EnvValue, HeaderValue, Naming, Value, naming
from gateway.config.lists import Access, Lists, ToolLists
from gateway.config.paths import in_folder
from gateway.config.sections import Maybe, section
from gateway.config.values import (
    EVERY_TENANT,
    Count,
    EnvName,
    HeaderName,
    HttpUrl,
    MemberId,
    Network,
    Seconds,
    TenantId,
    Text,
    ToolId,
    ToolName,
)
from gateway.ids import Kind

SENSITIVE = ("authorization", "cookie", "token", "secret", "password", "passwd", "api-key", "apikey", "credential")
# What the gateway itself says about a message, or what would change how its connection is framed.
OWN_HEADERS = frozenset(
    (
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "last-event-id",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)


def is_own_header(name: str) -> bool:
    """Whether a header of a request to a server is the gateway's to set, and no configuration's."""
    lower = name.lower()
    return lower in OWN_HEADERS or lower.startswith(("mcp-", "proxy-"))


def _folder(value: Path, info: ValidationInfo) -> Path:
    if info.data.get("mode") == "stdio":
        return in_folder(value, info)
    if value != Path():
        raise ValueError("belongs to mode: stdio, and this server is remote")
    return value


@section
class MemberEntry(ToolLists):
    """What of a server one tenant sees, and headers that tell the server so; tools, prompts and resources alike."""

    access: Access = Access()
    headers: dict[HeaderName, HeaderValue] = field(default_factory=dict)

    def lists(self, kind: Kind) -> Lists:
        """Return the lists for a kind."""
        return self.access.of(kind, self)


@section
class MemberAccess:
    """Which tenants are members of a server; `*` is every known tenant without an entry of its own."""

    member: dict[MemberId, MemberEntry] = field(default_factory=dict)

    def entry(self, tenant: str) -> MemberEntry | None:
        """Return the entry that counts for a known tenant, None where it is no member by configuration."""
        return self.member.get(tenant) or self.member.get(EVERY_TENANT)


@section
class Withdrawn:
    """Tools of one server that files withdraw, by exact name."""

    withdrawn: tuple[ToolName, ...] = ()


@section
class Projection(Withdrawn):
    """Tools of one server that files withdraw: from everybody, and from single tenants."""

    tenant_overrides: dict[TenantId, Withdrawn] = field(default_factory=dict)


@section
class WithdrawnIds:
    """Tools that files withdraw, each written server/tool."""

    withdrawn: tuple[ToolId, ...] = ()


@section
class GlobalProjection(WithdrawnIds):
    """Tools of any server that files withdraw: from everybody, and from single tenants."""

    tenant_overrides: dict[TenantId, WithdrawnIds] = field(default_factory=dict)


@section
class Backend:
    """One MCP server behind the gateway: where it is, or how it is started, and what of it there is for anybody."""

    mode: Literal["remote", "stdio"]
    endpoint: Maybe[HttpUrl] = None
    command: tuple[Annotated[Text, Field(min_length=1)], ...] = ()
    env: dict[EnvName, EnvValue] = field(default_factory=dict)
    cwd: Annotated[Path, AfterValidator(_folder), Field(validate_default=True)] = Path()
    description: Text = ""
    headers: dict[HeaderName, HeaderValue] = field(default_factory=dict)
    timeout_seconds: Seconds = 30.0
    max_concurrent_requests: Maybe[Count] = None
    tools: ToolLists = ToolLists()
    access: Access = Access()
    tool_projection: Withdrawn = Withdrawn()

    @property
    def naming(self) -> Naming:
        """The headers that depend on whose request it is."""
        return Naming(naming(self.headers, self.headers))

    def lists(self, kind: Kind) -> Lists:
        """Return the lists for a kind."""
        return self.access.of(kind, self.tools)


@section
class Server(Backend):
    """A server of the operator's, which several tenants may share."""

    allowed_networks: tuple[Network, ...] = ()
    tool_access: MemberAccess = MemberAccess()
    tool_projection: Projection = Projection()

    @property
    def addresses(self) -> Addresses:
        """Where it may lie."""
        return Addresses.of_server(self.allowed_networks)

    @property
    def naming(self) -> Naming:
        """The headers that depend on whose request it is."""
        rest, entries = naming(self.headers, self.headers), self.tool_access.member
        if not any(entry.headers for entry in entries.values()):
            return Naming(rest)
        # Entries without headers are many where tenants are, and share what they have.
        return Naming(
            rest,
            {
                tenant: naming(self.headers_for(tenant), self.headers) if entry.headers else rest
                for tenant, entry in entries.items()
            },
        )

    def headers_for(self, tenant: str | None) -> dict[str, Value]:
        """Return the headers that go with a tenant's calls: its member entry's win, whatever their case."""
        entry = self.tool_access.entry(tenant) if tenant is not None else None
        if entry is None or not entry.headers:
            return self.headers
        replaced = {name.lower() for name in entry.headers}
        return {name: value for name, value in self.headers.items() if name.lower() not in replaced} | entry.headers


@section
class OwnServer(Backend):
    """A server that a tenant's catalog defines; where it may lie is said by the operator, at the tenant."""
