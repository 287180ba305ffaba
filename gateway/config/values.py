"""The types of single values in config.yaml, each saying in plain words what it takes."""

from __future__ import annotations

import ipaddress
import re
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, Strict, WithJsonSchema

from gateway.ids import SERVER_ID, TENANT_ID, TOOL_NAME
from gateway.permissions import GRANTABLE

EVERY_TENANT = "*"
ROLE_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_PATTERN = re.compile(r"[A-Za-z0-9_./*?\[\]!-]{1,256}")
_PROMPT_PATTERN = re.compile(r"(?! )[^\x00-\x1f\x7f]{1,256}(?<! )")
_RESOURCE_PATTERN = re.compile(r"[^\s\x00-\x1f\x7f]{1,2048}")
PRINCIPAL = re.compile(r"(user|service|group):[^\s\x00-\x1f\x7f]{1,256}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
_REFERENCE = re.compile(r"\$\{")


class Secret:
    """A value that came from `${env:…}` or `${file:…}`; only `reveal` shows it, `reference` says where it came from.

    Not a dataclass: nothing that walks over fields may find the value.
    """

    __slots__ = ("__value", "reference")

    def __init__(self, reference: str, value: str) -> None:
        self.reference = reference
        self.__value = value

    def reveal(self) -> str:
        """Return the value itself."""
        return self.__value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self.reference, self.__value) == (other.reference, other.__value)

    def __hash__(self) -> int:
        return hash((self.reference, self.__value))

    def __repr__(self) -> str:
        return f"Secret({self.reference})"

    __str__ = __repr__


def matching(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"{value!r} is not {what}")
        return value

    return AfterValidator(check)


def _member(value: str) -> str:
    if value != EVERY_TENANT and not TENANT_ID.fullmatch(value):
        raise ValueError(f'{value!r} is neither a tenant id (1 to 128 of A-Z a-z 0-9 . _ : -, no "_" first) nor "*"')
    return value


def _withdrawn_id(value: str) -> str:
    server, slash, tool = value.partition("/")
    if not (slash and SERVER_ID.fullmatch(server) and TOOL_NAME.fullmatch(tool)):
        raise ValueError(f"{value!r} must be written server/tool, exactly; for a pattern use a deny_list")
    return value


def _permission(value: str) -> str:
    if value not in GRANTABLE:
        raise ValueError(f"{value!r} is not one of: {', '.join(sorted(GRANTABLE))}")
    return value


def _host(value: str) -> str:
    if not _HOST.fullmatch(value):
        raise ValueError(f"{value!r} is not a host name or address, with or without a port")
    return value.lower()


def _bind_host(value: str) -> str:
    bare = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        if re.fullmatch(r"[A-Za-z0-9._-]{1,253}", value):
            return value
        raise ValueError(f"{value!r} is not a host name or address; the port has a key of its own") from None


def _split(value: str) -> tuple[str, str]:
    parts = urlsplit(value)
    port = parts.port  # raises ValueError where it is not a number up to 65535
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user name or password; send a header from ${env:…} or ${file:…}")
    if parts.fragment or value.endswith("#"):
        raise ValueError("must not have a fragment (#…)")
    if any(character.isspace() or not character.isprintable() for character in value):
        raise ValueError("must not hold blanks or control characters")
    return parts.scheme, parts.hostname if parts.hostname and port != 0 else ""


def _http_url(value: str) -> str:
    scheme, host = _split(value)
    if scheme not in ("http", "https") or not host:
        raise ValueError(f"{value!r} must be a whole address: https://host/path or http://host/path")
    return value


def _origin(value: str) -> str:
    _http_url(value)
    parts = urlsplit(value)
    if parts.path or parts.query:
        raise ValueError(f"{value!r} must be an origin: scheme://host or scheme://host:port, nothing after it")
    return value.lower()


def _opa_url(value: str) -> str:
    if value.startswith("unix:///"):
        return value
    scheme, host = _split(value)
    if scheme not in ("http", "https") or not host:
        raise ValueError(f"{value!r} must be unix:///path/to/socket, http://host:port or https://host:port")
    return value.rstrip("/")


def _listen(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not (colon and host and _HOST.fullmatch(host) and port.isdecimal() and int(port) <= 65535):
        raise ValueError(f"{value!r} must be host:port, as in 127.0.0.1:8181")
    return value


def _network(value: Any) -> IPv4Network | IPv6Network:
    if not isinstance(value, str):
        raise ValueError('must be a network in quotes, as in "10.0.0.0/8"')
    return ipaddress.ip_network(value)


def _no_reference(value: str) -> str:
    if _REFERENCE.search(value):
        raise ValueError(
            "${…} is read only in the headers and the env of a server and in storage.url; write the value itself"
        )
    return value


def header_name(value: str) -> str:
    """Return `value` if it is an HTTP field name (RFC 9110, section 5.1)."""
    if not _HEADER_NAME.fullmatch(value):
        raise ValueError(f"{value!r} is not a header name")
    return value


Text = Annotated[str, AfterValidator(_no_reference)]
Flag = Annotated[bool, Strict()]
Count = Annotated[int, Strict(), Field(ge=1)]
Seconds = Annotated[float, Strict(), Field(gt=0, le=3600, allow_inf_nan=False)]
Port = Annotated[int, Strict(), Field(ge=0, le=65535)]
ServerId = Annotated[str, matching(SERVER_ID, "a server id (1 to 64 of A-Z a-z 0-9 . _ -)")]
TenantId = Annotated[str, matching(TENANT_ID, 'a tenant id (1 to 128 of A-Z a-z 0-9 . _ : -, no "_" first)')]
MemberId = Annotated[str, AfterValidator(_member)]
ToolName = Annotated[str, matching(TOOL_NAME, "a tool's exact name; for a pattern use a deny_list")]
ToolId = Annotated[str, AfterValidator(_withdrawn_id)]
Pattern = Annotated[str, matching(_PATTERN, "a tool name or glob (* ? [abc] [!a]), so it would match no tool")]
PrincipalName = Annotated[str, matching(PRINCIPAL, "a principal: user:…, service:… or group:…")]
PromptPattern = Annotated[str, matching(_PROMPT_PATTERN, "a prompt's name or a glob (1 to 256 characters)")]
ResourcePattern = Annotated[str, matching(_RESOURCE_PATTERN, "a URI or a glob (1 to 2048 characters, no blanks)")]
RoleName = Annotated[str, matching(ROLE_NAME, "a role's name (a-z first, then a-z 0-9 _, 64 at most)")]
Grant = Annotated[str, AfterValidator(_permission), WithJsonSchema({"enum": sorted(GRANTABLE)})]
ReplicaName = Annotated[str, matching(SERVER_ID, "a replica's name (1 to 64 of A-Z a-z 0-9 . _ -)")]
HeaderName = Annotated[str, AfterValidator(header_name)]
EnvName = Annotated[str, matching(_ENV_NAME, "the name of an environment variable")]
BindHost = Annotated[str, AfterValidator(_bind_host)]
Host = Annotated[str, AfterValidator(_host)]
Origin = Annotated[str, AfterValidator(_origin)]
HttpUrl = Annotated[str, AfterValidator(_no_reference), AfterValidator(_http_url)]
OpaUrl = Annotated[str, AfterValidator(_no_reference), AfterValidator(_opa_url)]
Listen = Annotated[str, AfterValidator(_listen)]
Network = Annotated[
    IPv4Network | IPv6Network, BeforeValidator(_network), WithJsonSchema({"type": "string", "format": "network"})
]


def host_port(listen: str) -> tuple[str, int]:
    """Return the host and the port of a `listen` setting, an IPv6 address without its brackets."""
    host, _, port = listen.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)
