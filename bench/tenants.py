"""A front door with many tenants: its configuration, what its servers offer, and what policy is told of both."""

from __future__ import annotations

import random
from typing import Any

from bundles.expand import Expander
from gateway.config import Config
from gateway.facts import ServerInventory

SERVERS = tuple(f"s{number}" for number in range(4))
TOOLS = 50


def config(tenants: int) -> Config:
    """Return a configuration of four shared servers and this many tenants; the same number makes the same one.

    Every tenant denies three tools of its own choice, and every second one allows but three quarters of each server.
    """
    members = _members(tenants)
    assigned = [
        {"principal": f"user:{number}", "role": "developer", "scope": f"tenant:tenant:{number - 1}"}
        for number in range(1, tenants, 2)
    ]
    oidc = {"enabled": True, "issuer": "https://idp.example.com", "audience": "a"}
    oidc["resource_uri"] = "https://a.example.com"
    remote = {"mode": "remote", "endpoint": "http://localhost:1/mcp"}
    document = {
        "tool_access": {"mode": "front_door"},
        "auth": {"enabled": True, "oidc": oidc, "role_assignments": assigned},
        "mcp_servers": {server: {**remote, "tool_access": {"member": members[server]}} for server in SERVERS},
        "tool_projection": {
            "withdrawn": ["s0/tool_0_1"],
            "tenant_overrides": {"tenant:3": {"withdrawn": ["s0/tool_0_2"]}},
        },
    }
    return Config.model_validate(document)


def _members(tenants: int) -> dict[str, dict[str, Any]]:
    draw = random.Random(1)
    members: dict[str, dict[str, Any]] = {server: {} for server in SERVERS}
    for number in range(tenants):
        for server in SERVERS:
            entry: dict[str, Any] = {}
            if server == "s0":
                entry["deny_list"] = [f"tool_0_{tool}" for tool in draw.sample(range(TOOLS), 3)]
            if number % 2:
                entry["allow_list"] = ["tool_?_?", "tool_?_[124]?"]
            members[server][f"tenant:{number}"] = entry
    return members


def inventory() -> tuple[ServerInventory, ...]:
    """Return what the servers offer: fifty tools each, and of one of them prompts and resources."""
    tools = {server: tuple(f"tool_{server[1:]}_{tool}" for tool in range(TOOLS)) for server in SERVERS}
    prompts = tuple(f"prompt_0_{number}" for number in range(10))
    resources = tuple(f"file:///docs/{number}" for number in range(10))
    others = {"s0": {"prompts": prompts, "resources": resources, "templates": ("file:///more/{name}",)}}
    return tuple(ServerInventory(server, "", tools[server], 0, **others.get(server, {})) for server in SERVERS)


def data(tenants: int) -> dict[str, Any]:
    """Return `portcullis_data` of that."""
    return dict(Expander().expand(config(tenants), "0" * 64, inventory()).data)
