"""What the ledger knows besides rights and events: servers, replicas, bundles, where it stands. Stdlib only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerInventory:
    """The tool names that a server offered when it was last listed. `digest` covers the definitions too."""

    server: str
    digest: str
    tools: tuple[str, ...]
    updated_at: int


@dataclass(frozen=True, slots=True)
class Replica:
    """A gateway+OPA pair that counts for acknowledgements; `token_hash` is the SHA-256 of its bundle token."""

    name: str
    token_hash: str
    registered_at: int


@dataclass(frozen=True, slots=True)
class Bundle:
    """What sync last published under a bundle's name: the digest of its content, and the revision that recorded it."""

    name: str
    digest: str
    revision: int


@dataclass(frozen=True, slots=True)
class LedgerMeta:
    """Where the ledger stands: revisions only grow within an epoch, and a restored ledger has a new epoch."""

    epoch: str
    revision: int
    config_hash: str | None
