"""The newest state of the ledger that a decision has shown, kept where a restart finds it.

The mark is raised the moment a decision shows a newer revision. A crash may lose the last raise: then the mark is older
than what was decided, so it refuses nothing that is good. The one thing then forgotten is that a bundle older than the
lost raise, yet no older than the mark, is a replay.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.errors import DecisionUnavailable
from gateway.pdp.kept import Kept

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.facts import LedgerMeta

MAX_PAST = 32


@dataclass(frozen=True, slots=True)
class Mark:
    """An epoch of the ledger and the highest revision of it that has been seen; `past` are epochs seen before it."""

    epoch: str
    revision: int
    past: tuple[str, ...] = field(default=(), compare=False)

    def of(self, epoch: str, revision: int) -> Mark:
        """Return the mark after this one; no ledger comes back to a past epoch unless it was restored."""
        past = self.past if epoch == self.epoch else (*self.past, self.epoch)[-MAX_PAST:]
        return Mark(epoch, revision, past)


class HighWaterMark:
    """Refuses a decision of an older revision than one seen before in the same epoch."""

    def __init__(self, path: Path, *, keep: bool = True) -> None:
        """Read the mark, if there is one; raises ConfigError for a file that is none.

        A file has one writer, the gateway; who only looks beside it passes `keep=False`.
        """
        self._kept = Kept(path, Mark, "the high-water mark", keep=keep)

    @property
    def value(self) -> Mark | None:
        """The mark now. A question notes it when it is sent and is held to that."""
        return self._kept.value

    def restored(self, meta: LedgerMeta, *, since: Mark | None) -> bool:
        """Return whether the ledger is an older copy of itself, by `since`, the mark when the ledger was asked.

        Comparing with the mark of now would take an answer that crossed the first one of a new revision for that.
        """
        if since is None:
            return False
        behind = since.epoch == meta.epoch and meta.revision < since.revision
        return behind or (meta.epoch != since.epoch and meta.epoch in since.past)

    def admit(self, epoch: str, revision: int, *, since: Mark | None) -> None:
        """Raise the mark; raises DecisionUnavailable for a revision below `since`, the mark when the question was sent.

        Comparing with the mark of now would refuse the answers that crossed the first one of a new revision.
        """
        if since is not None and since.epoch == epoch and revision < since.revision:
            raise DecisionUnavailable(f"the decision is of r{revision}, older than r{since.revision} seen before")
        mark = self.value
        if mark is None or mark.epoch != epoch or revision > mark.revision:
            self._kept.put(mark.of(epoch, revision) if mark else Mark(epoch, revision))

    async def close(self) -> None:
        """Return once the mark is on disk, or its writing has failed once more."""
        await self._kept.close()
