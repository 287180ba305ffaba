"""What the ledger knows besides rights and events: servers, replicas, bundles, where it stands. Stdlib only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.ids import Kind, Ref

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class ServerInventory:
    """The names of what a server offered when it was last listed. `digest` covers the definitions too."""

    server: str
    digest: str
    tools: tuple[str, ...]
    updated_at: int
    prompts: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()

    @property
    def refs(self) -> Iterator[Ref]:
        """Everything that it offered."""
        kinds = {Kind.TOOL: self.tools, Kind.PROMPT: self.prompts, Kind.RESOURCE: (*self.resources, *self.templates)}
        return (Ref(self.server, kind, name) for kind, names in kinds.items() for name in names)


@dataclass(frozen=True, slots=True)
class Replica:
    """A gateway+OPA pair that counts for acknowledgements; `token_hash` is the SHA-256 of its bundle token."""

    name: str
    token_hash: str
    registered_at: int


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What a replica has applied, as the sync that it polls has heard it: in `epoch` every revision up to this one.

    Those in `lacking` are left out, each a range above its first number and up to its second. `token_hash` says which
    pair of that name it is of, `sync` which life of which sync has heard it, `at` when that said so, in milliseconds.
    """

    replica: str
    token_hash: str
    sync: str
    epoch: str
    revision: int
    lacking: tuple[tuple[int, int], ...]
    at: int

    def covers(self, epoch: str | None, revision: int) -> bool:
        """Say whether the replica has applied a revision."""
        lacks = any(above < revision <= upto for above, upto in self.lacking)
        return self.epoch == epoch and revision <= self.revision and not lacks


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
