"""Rules of one server: what its mode needs and does not take, and what its headers and variables may hold."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gateway.config.findings import Finding
from gateway.config.servers import SENSITIVE, Server, is_own_header

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.config.document import Path
    from gateway.config.headers import Value
    from gateway.config.servers import Backend

# What each mode needs first, and what else belongs to it alone.
KEYS_OF_MODE = {"remote": ("endpoint", "headers", "allowed_networks"), "stdio": ("command", "env")}


def server_findings(server: Backend, at: Path) -> Iterator[Finding]:
    """Yield every rule that a server breaks; `at` is where it stands in its file."""
    yield from _mode(server, at)
    yield from header_findings(server.headers, (*at, "headers"))
    yield from _variables(server.env, (*at, "env"))
    if isinstance(server, Server):
        yield from _members(server, (*at, "tool_access", "member"))


def _mode(server: Backend, at: Path) -> Iterator[Finding]:
    needed, *_ = KEYS_OF_MODE[server.mode]
    judged_by = ((*at, "mode"),)
    if not getattr(server, needed):
        yield Finding((*at, needed), f"is missing; add {needed}: …", judged_by)
    for mode, keys in KEYS_OF_MODE.items():
        for key in keys:
            if mode != server.mode and getattr(server, key, None):
                yield Finding((*at, key), f"belongs to mode: {mode}, and this server is {server.mode}", judged_by)


def _members(server: Server, at: Path) -> Iterator[Finding]:
    for tenant, entry in server.tool_access.member.items():
        where = (*at, tenant, "headers")
        if entry.headers and server.mode != "remote":
            yield Finding(where, "belongs to mode: remote; a process is sent no headers")
        yield from header_findings(entry.headers, where)


def header_findings(headers: Mapping[str, Value], at: Path) -> Iterator[Finding]:
    """Yield what is wrong with configured headers."""
    count = Counter(name.lower() for name in headers)
    for name, value in headers.items():
        if is_own_header(name):
            yield Finding((*at, name), "is the gateway's own to set; remove it")
        elif count[name.lower()] > 1:
            yield Finding((*at, name), "is there twice but for upper and lower case; keep one")
        elif isinstance(value, str) and _is_sensitive(name):
            yield Finding((*at, name), "holds a secret in the open; write ${env:NAME} or ${file:/run/secrets/name}")


def _variables(env: Mapping[str, Value], at: Path) -> Iterator[Finding]:
    for name, value in env.items():
        if isinstance(value, str) and _is_sensitive(name.replace("_", "-")):
            yield Finding((*at, name), "holds a secret in the open; write ${env:NAME} or ${file:/run/secrets/name}")


def _is_sensitive(name: str) -> bool:
    lower = name.lower()
    return any(word in lower for word in SENSITIVE)
