"""The built-in roles, as the data that the role layer of the policy reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config.values import Role

ROLES: Mapping[Role, tuple[str, ...]] = {
    "admin": ("*",),
    "mcp_server_admin": ("mcp_servers:*", "tool:*"),
    "developer": ("mcp_servers:read", "mcp_servers:list", "mcp_servers:start", "tool:invoke", "tool:list"),
    "viewer": ("mcp_servers:read", "mcp_servers:list", "tool:list", "metrics:read"),
    "auditor": ("audit:read", "metrics:read"),
}
