"""Where one server is, or how it is started, and how it wants to be spoken to, in plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gateway.addresses import Addresses
from gateway.config.headers import Naming, filled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config.headers import Value
    from gateway.config.processes import Stdio
    from gateway.config.servers import Backend

# A server without a limit of its own must still not take every socket that this process may open.
DEFAULT_CONCURRENCY = 1024


class Limits(Protocol):
    """What every kind of server has: its id, and how long and how much it may be asked."""

    @property
    def server(self) -> str:
        """Its id."""

    @property
    def timeout_seconds(self) -> float:
        """How long an answer may take."""

    @property
    def start_seconds(self) -> float:
        """How long it may take to say what it speaks."""

    @property
    def max_concurrent_requests(self) -> int:
        """How many requests may be under way."""


@dataclass(frozen=True, slots=True)
class Target:
    """One configured server. `headers` go with every request, secrets resolved; `timeout_seconds` bounds an answer.

    `naming` are the headers that go with the requests that are made for a caller, beside or in place of those.
    """

    server: str
    endpoint: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout_seconds: float = 30.0
    max_concurrent_requests: int = DEFAULT_CONCURRENCY
    addresses: Addresses = field(default_factory=Addresses.of_server)
    naming: Naming = field(default_factory=Naming, repr=False)

    @property
    def start_seconds(self) -> float:
        """It runs already, so that it has no more time for the handshake than for an answer."""
        return self.timeout_seconds

    @classmethod
    def of(cls, server: str, config: Backend, addresses: Addresses) -> Target:
        """Return the target that a server's section describes; it must lie at one of these addresses."""
        return cls(
            server,
            config.endpoint or "",
            filled(config.headers, None),
            config.timeout_seconds,
            config.max_concurrent_requests or DEFAULT_CONCURRENCY,
            addresses,
            config.naming,
        )


@dataclass(frozen=True, slots=True)
class StdioTarget:
    """One configured server that is started here, in `directory`; `environment` beside the little that all get.

    `timeout_seconds` bounds an answer, `start_seconds` the time until a process speaks, and after `idle_seconds`
    without a request it is ended. `max_concurrent_requests` are those of one process.
    """

    server: str
    command: tuple[str, ...]
    environment: Mapping[str, Value] = field(default_factory=dict, repr=False)
    directory: Path = field(default_factory=Path)
    timeout_seconds: float = 30.0
    start_seconds: float = 60.0
    idle_seconds: float = 300.0
    max_concurrent_requests: int = DEFAULT_CONCURRENCY

    @classmethod
    def of(cls, server: str, config: Backend, stdio: Stdio) -> StdioTarget:
        """Return the target that a server's section describes."""
        return cls(
            server,
            config.command,
            config.env,
            config.cwd,
            config.timeout_seconds,
            stdio.start_seconds,
            stdio.idle_seconds,
            config.max_concurrent_requests or DEFAULT_CONCURRENCY,
        )


AnyTarget = Target | StdioTarget
