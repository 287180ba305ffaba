"""Noticing that a file changed: config.yaml, the secrets that it names, and users' Rego."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from watchfiles import awatch

from gateway.config.watch import fingerprint, folders

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

LOG = logging.getLogger("portcullis.sync")
DEBOUNCE_MS = 100
STEP_MS = 20
# Some file systems tell nobody of changes; this often they are looked for.
POLL_SECONDS = 5.0


class FileWatch:
    """Watches what `paths` returns: files, and folders with all that is in them."""

    def __init__(self, paths: Callable[[], set[Path]]) -> None:
        self._paths = paths
        self._news = asyncio.Event()

    async def run(self, changed: Callable[[], Awaitable[None]]) -> None:
        """Call `changed` after each change of a content, until cancelled."""
        seen = await asyncio.to_thread(fingerprint, self._files())
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._news.wait()
                self._news.clear()
                now = await asyncio.to_thread(fingerprint, self._files())
                if now != seen:
                    seen = now
                    await changed()

    def _files(self) -> set[Path]:
        paths = self._paths()
        inside = {path for folder in paths if folder.is_dir() for path in folder.rglob("*") if path.is_file()}
        return inside | {path for path in paths if not path.is_dir()}

    def _folders(self) -> frozenset[Path]:
        paths = self._paths()
        deep = {folder / "any" for top in paths if top.is_dir() for folder in (top, *_folders_in(top))}
        return folders(paths | deep)

    async def _listen(self) -> None:
        while True:
            try:
                async for _ in self._changes():
                    self._news.set()
            except (OSError, RuntimeError) as error:
                LOG.warning("the files cannot be watched, only polled: %s", error)
                await asyncio.sleep(POLL_SECONDS)

    async def _changes(self) -> AsyncIterator[None]:
        """Yield at every change in the watched folders, until they are no longer the ones to watch."""
        watched = self._folders()
        events = awatch(
            *watched,
            recursive=False,
            watch_filter=None,
            debounce=DEBOUNCE_MS,
            step=STEP_MS,
            rust_timeout=int(POLL_SECONDS * 1000),
            yield_on_timeout=True,
        )
        async with contextlib.aclosing(events):
            async for change in events:
                if change:
                    yield
                if self._folders() != watched:
                    yield
                    return


def _folders_in(top: Path) -> list[Path]:
    return [path for path in top.rglob("*") if path.is_dir()]
