"""What the ledger knows besides rights and events. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bundle:
    """What sync last published under a bundle's name: the digest of its content, and the revision that recorded it."""

    name: str
    digest: str
    revision: int
