"""What may be done, as permissions, and the roles that come with the product. A closed list: policy knows no other."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Permission(StrEnum):
    """One thing that a role may allow; before the colon stands what it is done to."""

    AUDIT_READ = "audit:read"
    CONFIG_RELOAD = "config:reload"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    MCP_SERVERS_LIFECYCLE = "mcp_servers:lifecycle"
    MCP_SERVERS_LIST = "mcp_servers:list"
    MCP_SERVERS_READ = "mcp_servers:read"
    MCP_SERVERS_START = "mcp_servers:start"
    METRICS_READ = "metrics:read"
    ROLES_READ = "roles:read"
    ROLES_WRITE = "roles:write"
    TENANT_ACT_AS = "tenant:act_as"
    TOKENS_WRITE = "tokens:write"
    TOOL_INVOKE = "tool:invoke"
    TOOL_LIST = "tool:list"


RESOURCES = tuple(sorted({one.partition(":")[0] for one in Permission}))
# Besides the permissions themselves, everything, and everything that is done to one resource.
WILDCARDS = ("*", *(f"{resource}:*" for resource in RESOURCES))
GRANTABLE = frozenset((*(one.value for one in Permission), *WILDCARDS))

BUILT_IN: Mapping[str, tuple[str, ...]] = {
    "admin": ("*",),
    "mcp_server_admin": ("mcp_servers:*", "tool:*"),
    "developer": ("mcp_servers:list", "mcp_servers:read", "mcp_servers:start", "tool:invoke", "tool:list"),
    "viewer": ("mcp_servers:list", "mcp_servers:read", "metrics:read", "tool:list"),
    "auditor": ("audit:read", "metrics:read"),
}
