"""What other syncs on the same ledger say of the replicas that poll them.

A row counts from when it was seen to change, for LEASE_SECONDS, and the sync that it is of says it anew every
RENEWAL_SECONDS while it hears the replica. So what a sync that died has left behind counts for nothing, and no other
machine's clock is believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.facts import Acknowledgement

RENEWAL_SECONDS = 5.0
LEASE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Said:
    """A row, and when it was seen to change, in seconds of this process; None while nobody knows how old it is."""

    row: Acknowledgement
    since: float | None


class Elsewhere:
    """`sync` is this sync's own name for its life; `clock` counts seconds monotonically."""

    def __init__(self, sync: str, clock: Callable[[], float]) -> None:
        self._sync = sync
        self._clock = clock
        self._said: dict[str, Said] = {}
        self.met = False
        """Whether another sync was ever heard to say something."""
        self._read_at: float | None = None

    def take(self, rows: Sequence[Acknowledgement]) -> bool:
        """Take what the ledger keeps now, and return whether another sync says something new."""
        now, before = self._clock(), self._said
        # Of what changed while nobody looked, nobody knows when it did.
        looked = self._read_at is not None and now - self._read_at <= LEASE_SECONDS
        self._read_at = now
        self._said, news = {}, False
        for row in rows:
            known = before.get(row.replica)
            if row.sync == self._sync:
                continue
            if known is not None and known.row == row:
                self._said[row.replica] = known
            else:
                self._said[row.replica] = Said(row, now if looked else None)
                self.met = self.met or looked
                news = True
        return news

    @property
    def anybody(self) -> bool:
        """Whether there is another sync that says something now."""
        return any(self._live(said) for said in self._said.values())

    def of(self, replica: str, token_hash: str) -> Acknowledgement | None:
        """Return what another sync says of this pair now; None where none says anything."""
        said = self._said.get(replica)
        return said.row if said is not None and said.row.token_hash == token_hash and self._live(said) else None

    def heard(self, replica: str) -> float | None:
        """Return when another sync last said something of a replica, None where none has been heard to."""
        said = self._said.get(replica)
        return said.since if said else None

    def _live(self, said: Said) -> bool:
        return said.since is not None and self._clock() - said.since <= LEASE_SECONDS
