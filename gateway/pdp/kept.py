"""A value that a restart must find: changed in memory at once, and written to its file behind, off the event loop.

A crash in between loses the last changes only: what is on disk is older, never ahead of what was in force. One file
has one writer, the gateway; who only looks beside it keeps nothing.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from gateway.errors import ConfigError, Mistake
from gateway.state import write_whole

if TYPE_CHECKING:
    from pathlib import Path

LOG = logging.getLogger("portcullis.pdp")
T = TypeVar("T")


class Kept(Generic[T]):
    """The newest value of one file; `what` names it in messages, as `the high-water mark`."""

    def __init__(self, path: Path, shape: type[T], what: str, *, keep: bool = True) -> None:
        """Read the file, if there is one; raises ConfigError for a damaged one: doubt does not lower what it says."""
        self._path = path
        self._what = what
        self._keeps = keep
        self._value = self._written = self._read(shape)
        self._writing: asyncio.Task[None] | None = None

    @property
    def value(self) -> T | None:
        """The value now; None before there is one."""
        return self._value

    def put(self, value: T) -> None:
        """Change the value; it is on disk a moment later."""
        self._value = value
        if self._keeps:
            self._write()

    async def close(self) -> None:
        """Return once the value is on disk, or its writing has failed once more."""
        if self._keeps:
            await self._write()

    def _write(self) -> asyncio.Task[None]:
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write_behind(), name=f"keep {self._what}")
        return self._writing

    async def _write_behind(self) -> None:
        try:
            while (value := self._value) != self._written:
                await asyncio.to_thread(write_whole, self._path, msgspec.json.encode(value))
                self._written = value
        except OSError as error:
            LOG.error("%s cannot be written to %s: %s", self._what, self._path, error.strerror)
        finally:
            self._writing = None

    def _read(self, shape: type[T]) -> T | None:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=shape)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            why = f"{self._what} cannot be read ({error}); if the file is damaged, remove it"
            raise ConfigError((Mistake(str(self._path), "", None, why),)) from error
