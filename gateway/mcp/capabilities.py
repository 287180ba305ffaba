"""What servers may ask of agents through this gateway, and which agent declares that it can be asked.

Servers are told what both sides can, never more: an agent's other capabilities mean things that are not passed on here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# What a server asks for, by the capability that the agent must have declared.
ASKED: Mapping[str, str] = {
    "sampling/createMessage": "sampling",
    "elicitation/create": "elicitation",
    "roots/list": "roots",
}
# What of each is kept with a session, where every byte comes back with every request; the names are the schema's.
_KEPT: Mapping[str, tuple[str, ...]] = {
    "sampling": ("context", "tools"),
    "elicitation": ("form", "url"),
    "roots": ("listChanged",),
}


def relayed(declared: Any) -> dict[str, Any]:
    """Return of an agent's capabilities those that a server may use through this gateway."""
    if not isinstance(declared, dict):
        return {}
    return {name: declared[name] for name in _KEPT if isinstance(declared.get(name), dict)}


def kept(declared: Any) -> dict[str, Any]:
    """Return the same in a form whose size no agent chooses."""
    return {
        name: {member: True if found[member] is True else {} for member in _KEPT[name] if _is_there(found.get(member))}
        for name, found in relayed(declared).items()
    }


def can(capabilities: Mapping[str, Any], method: str, params: Any) -> bool:
    """Whether an agent with these capabilities has declared that it can be asked this."""
    declared = capabilities.get(ASKED.get(method, ""))
    if declared is None:
        return False
    if method != "elicitation/create":
        return True
    # Before there was a choice there was only the form, and `{}` still means that (2025-11-25, client/elicitation).
    mode = params.get("mode", "form") if isinstance(params, dict) else "form"
    return mode in declared or (mode == "form" and "url" not in declared)


def _is_there(value: Any) -> bool:
    return value is True or isinstance(value, dict)
