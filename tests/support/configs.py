"""Configurations written as Python values."""

from __future__ import annotations

from typing import Any

from gateway.config import Config

FRONT_DOOR_AUTH = {
    "enabled": True,
    "oidc": {
        "enabled": True,
        "issuer": "https://auth.example.com",
        "audience": "mcp-hangar",
        "resource_uri": "https://hangar.example.com",
    },
}


def server(**keys: Any) -> dict[str, Any]:
    """Return a remote server with these keys beside its address."""
    return {"mode": "remote", "endpoint": "http://localhost:8080/mcp", **keys}


def lists(allow: tuple[str, ...] | list[str] = (), deny: tuple[str, ...] | list[str] = ()) -> dict[str, list[str]]:
    """Return an allow list and a deny list."""
    return {"allow_list": list(allow), "deny_list": list(deny)}


def members(**entries: dict[str, list[str]]) -> dict[str, Any]:
    """Return a `tool_access` section; `everybody` stands for `*`."""
    return {"member": {"*" if name == "everybody" else name: entry for name, entry in entries.items()}}


def front_door(servers: dict[str, Any], **keys: Any) -> Config:
    """Return a configuration in front-door mode."""
    given = {"tool_access": {"mode": "front_door"}, "auth": FRONT_DOOR_AUTH, "mcp_servers": servers, **keys}
    return Config.model_validate(given)


def egress(servers: dict[str, Any], **keys: Any) -> Config:
    """Return a configuration in egress mode."""
    return Config.model_validate({"mcp_servers": servers, **keys})
