"""The sections of config.yaml that describe MCP servers, and who may see what of them."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, InstanceOf, PlainSerializer, ValidationInfo, WithJsonSchema

from gateway.config.references import Context, resolve
from gateway.config.values import (
    Count,
    HeaderName,
    HttpUrl,
    MemberId,
    Network,
    Pattern,
    Seconds,
    Secret,
    Section,
    TenantId,
    Text,
    ToolId,
    ToolName,
)

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


def _header_value(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, str):
        raise ValueError("must be text in quotes")
    context = info.context if isinstance(info.context, Context) else Context(Path(), {})
    return resolve(value, context)


HeaderValue = Annotated[
    InstanceOf[Secret] | str,
    BeforeValidator(_header_value),
    PlainSerializer(lambda value: value.reference if isinstance(value, Secret) else value),
    WithJsonSchema({"type": "string"}),
]


class ToolLists(Section):
    """Which tools pass: deny beats allow, and an empty `allow_list` means all that the server offers."""

    allow_list: tuple[Pattern, ...] = ()
    deny_list: tuple[Pattern, ...] = ()


class MemberAccess(Section):
    """Which tenants are members of a server; `*` is every known tenant without an entry of its own."""

    member: dict[MemberId, ToolLists] = Field(default={})


class Withdrawn(Section):
    """Tools of one server that files withdraw, by exact name."""

    withdrawn: tuple[ToolName, ...] = ()


class Projection(Withdrawn):
    """Tools of one server that files withdraw: from everybody, and from single tenants."""

    tenant_overrides: dict[TenantId, Withdrawn] = Field(default={})


class WithdrawnIds(Section):
    """Tools that files withdraw, each written server/tool."""

    withdrawn: tuple[ToolId, ...] = ()


class GlobalProjection(WithdrawnIds):
    """Tools of any server that files withdraw: from everybody, and from single tenants."""

    tenant_overrides: dict[TenantId, WithdrawnIds] = Field(default={})


class Server(Section):
    """One MCP server behind the gateway."""

    mode: Literal["remote"]
    endpoint: HttpUrl
    description: Text = ""
    headers: dict[HeaderName, HeaderValue] = Field(default={})
    timeout_seconds: Seconds = 30.0
    max_concurrent_requests: Count | None = None
    allowed_networks: tuple[Network, ...] = ()
    tools: ToolLists = ToolLists()
    tool_access: MemberAccess = MemberAccess()
    tool_projection: Projection = Projection()


class Tenant(Section):
    """A tenant that is known by definition and not only by a member entry."""

    id: TenantId
    display_name: Annotated[Text, Field(max_length=256)] = ""
    active: Annotated[bool, Field(strict=True)] = True
