"""tenants.yaml and the catalog files: who the tenants are, what each is offered, and what each brings along."""

import re
from dataclasses import field
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic.json_schema import SkipJsonSchema

from gateway.addresses import Addresses
from gateway.config.lists import Access, Lists, ToolLists
from gateway.config.paths import FilePath
from gateway.config.sections import Maybe, section
from gateway.config.servers import OwnServer
from gateway.config.values import Count, Flag, Network, ServerId, TenantId, Text, matching
from gateway.ids import Kind

HASH_PREFIX = "sha256:"
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_KEY_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_KEY_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ENV_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}_")
# The SHA-256 of no bytes at all, which is what a script hashes whose variable is not set.
_NOTHING = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def _key_hash(value: str) -> str:
    lower = value.lower()
    if not _KEY_HASH.fullmatch(lower):
        raise ValueError('must be "sha256:" and 64 hexadecimal digits; make it with portcullis tenant hash-key')
    if lower == _NOTHING:
        raise ValueError("is the hash of an empty text and not of a key; make it with portcullis tenant hash-key")
    return lower


def _not_in_files(value: Any) -> Any:
    if value is not None and not isinstance(value, Catalog):
        raise ValueError("unknown key; a catalog is a file of its own, named by catalog_file")
    return value


@section
class ApiKeyHash:
    """A key of a tenant, by its SHA-256; `name` makes its principal, `service:<tenant>/<name>`."""

    key_hash: Annotated[str, AfterValidator(_key_hash)]
    name: Maybe[Annotated[str, matching(_KEY_NAME, "a key's name (1 to 64 of A-Z a-z 0-9 . _ -)")]] = None


@section
class Quotas:
    """What a tenant may use at most; without a number there is no limit."""

    max_servers: Maybe[Count] = None
    max_concurrent_requests: Maybe[Count] = None
    requests_per_minute: Maybe[Count] = None


@section
class Offer:
    """A shared server that a tenant is offered, and what of it."""

    tools: ToolLists = ToolLists()
    access: Access = Access()

    def lists(self, kind: Kind) -> Lists:
        """Return the lists for a kind."""
        return self.access.of(kind, self.tools)


@section
class Catalog:
    """A catalog file: the shared servers that a tenant is offered, and servers of its own, under `mcp_servers`."""

    servers: dict[ServerId, Offer] = field(default_factory=dict)
    mcp_servers: dict[ServerId, OwnServer] = field(default_factory=dict)

    @property
    def own(self) -> dict[str, OwnServer]:
        """The tenant's own servers."""
        return self.mcp_servers


@section
class Tenant:
    """A tenant as the operator defines it.

    `catalog` is what was read from `catalog_file`. `active` is False also for a tenant that is suspended because
    nothing good could be read from there.
    """

    id: TenantId
    display_name: Annotated[Text, Field(max_length=256)] = ""
    namespace: Maybe[Annotated[str, matching(_NAMESPACE, "a namespace (RFC 1123: a-z 0-9 -, 63 at most)")]] = None
    catalog_file: Maybe[Annotated[Text, Field(min_length=1)]] = None
    active: Flag = True
    api_keys: tuple[ApiKeyHash, ...] = ()
    quotas: Quotas = Quotas()
    secrets_dir: Maybe[FilePath] = None
    env_prefix: Maybe[Annotated[str, matching(_ENV_PREFIX, "a prefix of variables (as in TEAM_A_)")]] = None
    allowed_networks: tuple[Network, ...] = ()
    allow_stdio: Flag = False
    catalog: SkipJsonSchema[Annotated[Catalog | None, BeforeValidator(_not_in_files)]] = None

    @property
    def addresses(self) -> Addresses:
        """Where the tenant's own servers may lie: on public addresses, and where the operator said."""
        return Addresses(self.allowed_networks)


@section
class TenantsFile:
    """The whole of tenants.yaml."""

    tenants: tuple[Tenant, ...]
