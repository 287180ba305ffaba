"""Where one server is and how it wants to be spoken to, in plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.config.headers import filled

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv4Network, IPv6Network

    from gateway.config.servers import Server

# A server without a limit of its own must still not take every socket that this process may open.
DEFAULT_CONCURRENCY = 1024


@dataclass(frozen=True, slots=True)
class Target:
    """One configured server. `headers` go with every request, secrets resolved; `timeout_seconds` bounds an answer."""

    server: str
    endpoint: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout_seconds: float = 30.0
    max_concurrent_requests: int = DEFAULT_CONCURRENCY
    allowed_networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def of(cls, server: str, config: Server) -> Target:
        """Return the target that a section of `mcp_servers` describes."""
        return cls(
            server,
            config.endpoint or "",
            filled(config.headers, None),
            config.timeout_seconds,
            config.max_concurrent_requests or DEFAULT_CONCURRENCY,
            config.allowed_networks,
        )
