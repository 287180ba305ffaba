"""The newest state of the ledger that a decision has shown, kept where a restart finds it.

The mark is raised in memory the moment a decision shows a newer revision and written behind it. A crash in between
loses that raise only: the mark on disk is older, never ahead of what was decided, so it can refuse nothing that is
good. The one thing then forgotten is that a bundle older than the lost raise, yet no older than the mark, is a replay.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from gateway.errors import ConfigError, DecisionUnavailable, Mistake
from gateway.state import write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.model import LedgerMeta

LOG = logging.getLogger("portcullis.pdp")


@dataclass(frozen=True, slots=True)
class Mark:
    """An epoch of the ledger and the highest revision of it that has been seen."""

    epoch: str
    revision: int


class HighWaterMark:
    """Refuses a decision of an older revision than one seen before in the same epoch."""

    def __init__(self, path: Path, *, keep: bool = True) -> None:
        """Read the mark, if there is one; raises ConfigError for a file that is none: doubt does not lower a mark.

        A file has one writer, the gateway; who only looks beside it passes `keep=False`.
        """
        self._keeps = keep
        self._path = path
        self._mark = _read(path)
        self._kept = self._mark
        self._writing: asyncio.Task[None] | None = None

    @property
    def value(self) -> Mark | None:
        """The mark now. A question notes it when it is sent and is held to that."""
        return self._mark

    def restored(self, meta: LedgerMeta) -> bool:
        """Return whether the ledger is behind what it has already said in its own epoch: an older copy of itself."""
        mark = self._mark
        return mark is not None and mark.epoch == meta.epoch and meta.revision < mark.revision

    def admit(self, epoch: str, revision: int, *, since: Mark | None) -> None:
        """Raise the mark; raises DecisionUnavailable for a revision below `since`, the mark when the question was sent.

        Comparing with the mark of now would refuse the answers that crossed the first one of a new revision.
        """
        if since is not None and since.epoch == epoch and revision < since.revision:
            raise DecisionUnavailable(f"the decision is of r{revision}, older than r{since.revision} seen before")
        mark = self._mark
        if mark is not None and mark.epoch == epoch and revision <= mark.revision:
            return
        self._mark = Mark(epoch, revision)
        if self._keeps:
            self._keep()

    async def close(self) -> None:
        """Return once the mark is on disk, or its writing has failed once more."""
        if self._keeps:
            await self._keep()

    def _keep(self) -> asyncio.Task[None]:
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write_behind(), name="high-water mark")
        return self._writing

    async def _write_behind(self) -> None:
        try:
            while self._mark is not None and self._mark != self._kept:
                mark = self._mark
                await asyncio.to_thread(write_whole, self._path, msgspec.json.encode(mark))
                self._kept = mark
        except OSError as error:
            LOG.error("the high-water mark cannot be written to %s: %s", self._path, error.strerror)
        finally:
            self._writing = None


def _read(path: Path) -> Mark | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Mark)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        why = f"the high-water mark cannot be read ({error}); if it is damaged, remove it"
        raise ConfigError((Mistake(str(path), "", None, why),)) from error
