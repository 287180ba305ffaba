"""Which configuration is published: the one that a gateway has put in force, wherever it is still to be had.

A gateway records the hash of its configuration in the ledger, in the transaction that gives it a revision. What the
files say is published once it is recorded and not before, so an edit that no gateway has taken up changes nothing.
Its documents are copied into the state directory: a sync that starts beside running gateways goes on with the copy
where the files are broken by then, or already say what comes next. Secrets are not copied; they are read anew.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gateway.config import Source, load
from gateway.config.contents import Copied
from gateway.config.memory import Memory
from gateway.config.reloading import needs_restart, report, standing_of
from gateway.errors import ConfigError
from gateway.state import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.config import Loaded
    from gateway.errors import Mistake

LOG = logging.getLogger("portcullis.sync")


class _Copy(msgspec.Struct, frozen=True):
    """The file in the state directory; bytes are written in base64."""

    documents: dict[str, bytes]


class Configurations:
    """The files as last read without a mistake, what is in force, and what was before: at first the copy."""

    def __init__(self, source: Source | Path, copy: Path) -> None:
        """Read both; raises ConfigError with every mistake in the files where there is no copy to go on with."""
        self.source = Source.of(source)
        self.mistakes: tuple[Mistake, ...] = ()
        self._copy_path = copy
        self._memory = Memory(keep=True)
        self._files: Loaded | None = None
        # What a gateway that starts now makes of the files: it has no last good catalogs.
        self._at_start: Loaded | None = None
        self._force: Loaded | None = None
        self._before = self._copied()
        self._recorded: str | None = None
        self._sought: str | None = None
        self._seeks = False
        self._uncopied: Loaded | None = None
        self._followed = False
        self._read()
        if self._files is None and self._before is None:
            raise ConfigError(self.mistakes)

    @property
    def in_force(self) -> Loaded | None:
        """What is to be published; None where the ledger records what is neither in the files nor in the copy."""
        return self._force

    @property
    def known(self) -> Loaded:
        """The configuration to go by where none is in force: for how sync itself runs, never for what is published."""
        found = self._force or self._files or self._before
        assert found is not None
        return found

    @property
    def files(self) -> set[Path]:
        """Everything that a change of may be news."""
        readings = (self._force, self._files, self._before)
        return {self.source.config, *(path for one in readings if one for path in one.files)}

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the files, or between them and the ledger."""
        yield from map(str, self.mistakes)
        for kept in self._files.kept_back if self._files else ():
            yield from (f"{standing_of(kept)}: {mistake}" for mistake in kept.mistakes)
        files = f"the files here are {self._files.hash[:12] if self._files else 'refused'}"
        here = {one.hash for one in (self._files, self._at_start) if one}
        force, recorded = self.in_force, self._recorded
        if recorded and force and force.hash != recorded:
            yield f"config: gateways run on {recorded[:12]}, {files}, and {force.hash[:12]} stays published"
        elif recorded and not force:
            yield f"config: gateways run on {recorded[:12]}, {files}; no tenants are published until the two agree"
        elif recorded and force and self._files and recorded not in here:
            yield f"config: {files}, which no gateway has put in force; {recorded[:12]} stays published"
        yield from (f"{self.source}: {key}: was changed and needs a restart" for key in self._unstarted())

    def follow(self, recorded: str | None) -> bool:
        """Put in force what the ledger records; return whether `catch_up` has something to do: it takes time."""
        self._recorded, self._followed = recorded, True
        if self._of(recorded) is None and self._sought != recorded:
            self._sought, self._seeks = recorded, True
        self._choose()
        return self._seeks or self._uncopied is not None

    async def catch_up(self) -> None:
        """Read the files again where what the ledger records is not here, and copy what is in force."""
        if self._seeks:
            self._seeks = False
            await self.reread()
        reading, self._uncopied = self._uncopied, None
        if reading is not None:
            await asyncio.to_thread(self._keep, reading)

    async def reread(self) -> None:
        """Read the files again; what is wrong with them is logged, and what was read before stays."""
        await asyncio.to_thread(self._read)
        if self._followed:
            self._choose()

    def _choose(self) -> None:
        found = self._of(self._recorded)
        if found is None or found is self._force:
            return
        if self._force and self._force.hash == found.hash:
            self._force = found
            return
        if self._force:
            LOG.info("configuration %s is in force", found.hash[:12])
        if self._force or found is not self._before:
            self._uncopied = found
        self._force, self._before = found, self._force or self._before

    def _of(self, recorded: str | None) -> Loaded | None:
        """Return the reading that is to be in force; before any gateway has recorded one, that of the files."""
        if recorded is None:
            changed = self._files and not any(self._unstarted())
            return (self._files if changed else self._force) or self._files or self._before
        here = (self._force, self._files, self._at_start, self._before)
        return next((one for one in here if one and one.hash == recorded), None)

    def _unstarted(self) -> Iterator[str]:
        """Yield what the files say otherwise than what is in force, and a gateway takes up only when it starts."""
        if self._force and self._files:
            yield from needs_restart(self._force.config, self._files.config)

    def _read(self) -> None:
        """Read the files, as the gateways do that go on from what is in force, and as one does that starts."""
        before = self._force or self._files or self._before
        try:
            found = load(self.source, before=before, memory=self._memory)
            self._at_start = load(self.source, memory=self._memory) if found.kept_back else None
        except ConfigError as error:
            if error.mistakes != self.mistakes:
                LOG.error("the files are refused, the last good ones stay in force:\n%s", error)
            self.mistakes = error.mistakes
        else:
            report(self._files.kept_back if self._files else (), found.kept_back)
            self._files, self.mistakes = found, ()

    def _copied(self) -> Loaded | None:
        """Return what the copy says; one that is damaged, or whose secrets are gone, is none."""
        try:
            copy = msgspec.json.decode(self._copy_path.read_bytes(), type=_Copy)
            copied = Copied({Path(path): content for path, content in copy.documents.items()})
            return load(self.source, memory=Memory(copied, keep=True))
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, ConfigError) as error:
            LOG.warning("the copy of the configuration in %s is of no use: %s", self._copy_path, error)
            return None

    def _keep(self, reading: Loaded) -> None:
        documents = {str(path): content for path, content in reading.documents.items()}
        try:
            write_whole(self._copy_path, msgspec.json.encode(_Copy(documents)))
        except OSError as error:
            LOG.error("the configuration cannot be copied to %s: %s", self._copy_path, error.strerror)
