"""Which configuration is published: the one that a gateway has put in force, wherever it is still to be had.

A gateway records the hash of its configuration in the ledger, in the transaction that gives it a revision. What the
files say is published once it is recorded and not before, so an edit that no gateway has taken up changes nothing.
Its documents are copied into the state directory: a sync that starts beside running gateways goes on with the copy
where the files are broken by then, or already say what comes next. Secrets are not copied; they are read anew.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gateway.config import load
from gateway.config.references import read
from gateway.config.reloading import needs_restart
from gateway.errors import ConfigError
from gateway.state import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gateway.config import Loaded
    from gateway.errors import Mistake

LOG = logging.getLogger("portcullis.sync")


@dataclass(frozen=True, slots=True)
class _Reading:
    """A configuration that holds together, and the documents that say it."""

    loaded: Loaded
    documents: Mapping[Path, bytes]


class _Copy(msgspec.Struct, frozen=True):
    """The file in the state directory; bytes are written in base64."""

    documents: dict[str, bytes]


class Configurations:
    """The files at `path` as last read without a mistake, what is in force, and what was before: at first the copy."""

    def __init__(self, path: Path, copy: Path) -> None:
        """Read both; raises ConfigError with every mistake in the files where there is no copy to go on with."""
        self.path = path
        self.mistakes: tuple[Mistake, ...] = ()
        self._copy_path = copy
        self._files: _Reading | None = None
        self._force: _Reading | None = None
        self._before = self._copied()
        self._recorded: str | None = None
        self._sought: str | None = None
        self._seeks = False
        self._uncopied: _Reading | None = None
        self._followed = False
        self._read()
        if self._files is None and self._before is None:
            raise ConfigError(self.mistakes)

    @property
    def in_force(self) -> Loaded | None:
        """What is to be published; None where the ledger records what is neither in the files nor in the copy."""
        return self._force.loaded if self._force else None

    @property
    def known(self) -> Loaded:
        """The configuration to go by where none is in force: for how sync itself runs, never for what is published."""
        found = self._force or self._files or self._before
        assert found is not None
        return found.loaded

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the files, or between them and the ledger."""
        yield from map(str, self.mistakes)
        files = f"the files here are {self._files.loaded.hash[:12] if self._files else 'refused'}"
        force, recorded = self.in_force, self._recorded
        if recorded and force and force.hash != recorded:
            yield f"config: gateways run on {recorded[:12]}, {files}, and {force.hash[:12]} stays published"
        elif recorded and not force:
            yield f"config: gateways run on {recorded[:12]}, {files}; no tenants are published until the two agree"
        elif recorded and force and self._files and self._files.loaded.hash != recorded:
            yield f"config: {files}, which no gateway has put in force; {recorded[:12]} stays published"
        yield from (f"{self.path}: {key}: was changed and needs a restart" for key in self._unstarted())

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
        if found is None or (self._force and found.loaded is self._force.loaded):
            return
        if self._force and self._force.loaded.hash == found.loaded.hash:
            self._force = found
            return
        if self._force:
            LOG.info("configuration %s is in force", found.loaded.hash[:12])
        if self._force or found is not self._before:
            self._uncopied = found
        self._force, self._before = found, self._force or self._before

    def _of(self, recorded: str | None) -> _Reading | None:
        """Return the reading that is to be in force; before any gateway has recorded one, that of the files."""
        if recorded is None:
            changed = self._files and not any(self._unstarted())
            return (self._files if changed else self._force) or self._files or self._before
        here = (self._force, self._files, self._before)
        return next((one for one in here if one and one.loaded.hash == recorded), None)

    def _unstarted(self) -> Iterator[str]:
        """Yield what the files say otherwise than what is in force, and a gateway takes up only when it starts."""
        if self._force and self._files:
            yield from needs_restart(self._force.loaded.config, self._files.loaded.config)

    def _read(self) -> None:
        documents: dict[Path, bytes] = {}

        def recording(path: Path, limit: int) -> bytes:
            documents[path] = read(path, limit)
            return documents[path]

        try:
            self._files = _Reading(load(self.path, documents=recording), documents)
        except ConfigError as error:
            if error.mistakes != self.mistakes:
                LOG.error("the files are refused, the last good ones stay in force:\n%s", error)
            self.mistakes = error.mistakes
        else:
            self.mistakes = ()

    def _copied(self) -> _Reading | None:
        """Return what the copy says; one that is damaged, or whose secrets are gone, is none."""
        try:
            copy = msgspec.json.decode(self._copy_path.read_bytes(), type=_Copy)
            documents = {Path(path): content for path, content in copy.documents.items()}
            return _Reading(load(self.path, documents=_reader(documents)), documents)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, ConfigError) as error:
            LOG.warning("the copy of the configuration in %s is of no use: %s", self._copy_path, error)
            return None

    def _keep(self, reading: _Reading) -> None:
        documents = {str(path): content for path, content in reading.documents.items()}
        try:
            write_whole(self._copy_path, msgspec.json.encode(_Copy(documents)))
        except OSError as error:
            LOG.error("the configuration cannot be copied to %s: %s", self._copy_path, error.strerror)


def _reader(documents: Mapping[Path, bytes]) -> Callable[[Path, int], bytes]:
    """Return what reads from the copy alone: a document that is not in it is not there."""

    def read_copied(path: Path, _limit: int) -> bytes:
        if path not in documents:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return documents[path]

    return read_copied
