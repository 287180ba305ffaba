"""One bundle as it is served: the current archive, what it took to get here, and who has activated what.

A revision of the ledger either changed this bundle or did not, which is what an acknowledgement hangs on. Each change
is a claim over a range of revisions; it is settled by the sequence number of the archive that first contained it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CLAIMS_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Served:
    """An archive with its ETag (quotes included); `revision` is when its content last changed."""

    etag: str
    body: bytes
    sequence: int
    revision: int


@dataclass(slots=True)
class Claim:
    """Revisions above `after` up to `upto` changed the bundle; None as `upto`: up to whichever comes next."""

    after: int
    upto: int | None
    sequence: int | None = None


def united(through: int, lacking: Iterable[tuple[int, int]]) -> tuple[int, tuple[tuple[int, int], ...]]:
    """Return up to which revision something is had, and in which ranges below it is not, with none that touch.

    It was looked at up to `through`; a range is above its first number and up to its second.
    """
    ranges: list[tuple[int, int]] = []
    for above, upto in sorted(lacking):
        if ranges and above <= ranges[-1][1]:
            ranges[-1] = (ranges[-1][0], max(upto, ranges[-1][1]))
        else:
            ranges.append((above, upto))
    while ranges and ranges[-1][1] >= through:
        through = min(through, ranges.pop()[0])
    return through, tuple(ranges)


class Shelf:
    """The state of one bundle within one epoch of the ledger and one life of this process."""

    def __init__(self, name: str, epoch: str, boot: str) -> None:
        self.name = name
        self.through = -1
        self.served: Served | None = None
        self._prefix = f"{name}-{epoch}-{boot}."
        self._own_etag = re.compile(rf'"{re.escape(self._prefix)}([0-9]{{1,18}})"')
        self._sequence = 0
        self._claims: list[Claim] = []
        self._forgotten = Claim(after=-1, upto=-1, sequence=0)
        self._acknowledged: dict[str, int] = {}

    def settle(self, revision: int) -> None:
        """Note that the revisions up to this one, since the last, did not change the bundle."""
        for claim in reversed(self._claims):
            if claim.upto is not None:
                break
            # A change that came from a file belongs to the revision that recorded the file.
            if revision > claim.after:
                claim.upto = revision
        self.through = max(self.through, revision)

    def claim(self, revision: int) -> Claim:
        """Note that the revisions up to this one, since the last, change the bundle in a way still to be built."""
        claim = Claim(after=self.through, upto=revision if revision > self.through else None)
        self.settle(revision)
        self._claims.append(claim)
        self._prune()
        return claim

    def put(self, body: bytes, revision: int, claim: Claim | None = None) -> Served:
        """Serve a new archive; it settles `claim` and every claim before it."""
        self._sequence += 1
        self.served = Served(f'"{self._prefix}{self._sequence}"', body, self._sequence, revision)
        if claim is not None:
            self.unchanged(claim)
        return self.served

    def unchanged(self, claim: Claim) -> None:
        """Note that what is served already contains `claim` and every claim before it."""
        for earlier in self._claims:
            if earlier.sequence is None:
                earlier.sequence = self._sequence
            if earlier is claim:
                return

    def heard(self, replica: str, if_none_match: str) -> bool:
        """Take a poll's ETags as what the replica has activated and persisted; say whether that is news.

        A replica that names none has none: it has just started.
        """
        named = [int(number) for number in self._own_etag.findall(if_none_match)]
        before = self._acknowledged.get(replica, 0)
        self._acknowledged[replica] = now = min(max(named, default=0), self._sequence)
        return now != before

    def settled(self, revision: int) -> bool:
        """Say whether what is served has every change that the revision made here."""
        return self.through >= revision and self._needed(revision) <= self._sequence

    def applied(self, replica: str, revision: int) -> bool:
        """Say whether the replica has every change that the revision made here; of the future nothing is known."""
        return self.through >= revision and self._acknowledged.get(replica, 0) >= self._needed(revision)

    def acknowledged(self, replica: str) -> int:
        """Return the sequence number that the replica last named; 0 for none of ours."""
        return self._acknowledged.get(replica, 0)

    def lacking(self, replica: str) -> Iterator[tuple[int, int]]:
        """Return what the replica lacks of what revisions up to `through` changed here, the newest first.

        Each is a range of revisions, above its first number and up to its second.
        """
        has = self._acknowledged.get(replica, 0)
        for claim in reversed(self._claims):
            if claim.sequence is not None and claim.sequence <= has:
                return
            # One that is open is of revisions that are above `through`.
            if claim.upto is not None:
                yield claim.after, claim.upto
        if (self._forgotten.sequence or 0) > has:
            yield -1, self._forgotten.upto or -1

    def forget(self, replica: str) -> None:
        """Drop what is known of a replica."""
        self._acknowledged.pop(replica, None)

    def _needed(self, revision: int) -> float:
        """Return the sequence number that contains the revision's change here; 0 if it made none."""
        needed: float = (self._forgotten.sequence or 0) if revision <= (self._forgotten.upto or -1) else 0
        for claim in self._claims:
            if claim.after < revision and (claim.upto is None or revision <= claim.upto):
                needed = max(needed, float("inf") if claim.sequence is None else claim.sequence)
        return needed

    def _prune(self) -> None:
        while len(self._claims) > CLAIMS_KEPT and self._claims[0].sequence is not None:
            self._forgotten = self._claims.pop(0)
