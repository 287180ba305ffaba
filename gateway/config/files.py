"""Noticing that files changed: config.yaml, tenants.yaml, catalogs, the secrets that they name, users' Rego.

What is watched are folders, so that an editor's rename and a swapped symbolic link are seen like a write. A slow poll
of the files' contents stands behind it, for file systems that tell nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from typing import TYPE_CHECKING

import watchfiles

from gateway.config.contents import Contents, fingerprint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from pathlib import Path

LOG = logging.getLogger("portcullis.config")
POLL_SECONDS = 5.0
DEBOUNCE_MS = 100
STEP_MS = 20
_MAX_LINKS = 40


class FileWatch:
    """Watches what `paths` returns: files, and folders with all that is in them. It is asked anew at each look."""

    def __init__(self, paths: Callable[[], Iterable[Path]], *, poll_seconds: float = POLL_SECONDS) -> None:
        self._paths = paths
        self._poll_seconds = poll_seconds
        self._contents = Contents()
        self._news = asyncio.Event()

    def trigger(self) -> None:
        """Have the files looked at now."""
        self._news.set()

    async def every_look(self, look: Callable[[], Awaitable[None]]) -> None:
        """Call `look` when a file may have changed, when triggered, and at each poll, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            while True:
                # Not wait_for: on Python 3.11 it can swallow a cancellation that comes together with the news.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_seconds):
                        await self._news.wait()
                self._news.clear()
                await look()

    async def every_change(self, changed: Callable[[], Awaitable[None]]) -> None:
        """Call `changed` after each change of a content, until cancelled."""
        seen = await asyncio.to_thread(self._fingerprint)

        async def look() -> None:
            nonlocal seen
            now = await asyncio.to_thread(self._fingerprint)
            if now != seen:
                seen = now
                await changed()

        await self.every_look(look)

    def _fingerprint(self) -> str:
        paths = set(self._paths())
        inside = {path for folder in paths if folder.is_dir() for path in folder.rglob("*") if path.is_file()}
        return fingerprint(self._contents.digests(inside | {path for path in paths if not path.is_dir()}))

    def _folders(self) -> frozenset[Path]:
        paths = set(self._paths())
        within = {folder / "any" for top in paths if top.is_dir() for folder in (top, *_folders_in(top))}
        return folders(paths | within)

    async def _listen(self) -> None:
        while True:
            try:
                async for _ in self._changes():
                    self._news.set()
            except (OSError, RuntimeError) as error:
                LOG.warning("the files cannot be watched, only polled: %s", error)
                await asyncio.sleep(self._poll_seconds)

    async def _changes(self) -> AsyncIterator[None]:
        """Yield at every change in the watched folders, until they are no longer the ones to watch."""
        watched = await asyncio.to_thread(self._folders)
        changes = watchfiles.awatch(
            *watched,
            recursive=False,
            watch_filter=None,
            debounce=DEBOUNCE_MS,
            step=STEP_MS,
            rust_timeout=int(self._poll_seconds * 1000),
            yield_on_timeout=True,
        )
        async with contextlib.aclosing(changes):
            async for change in changes:
                if change:
                    yield
                if await asyncio.to_thread(self._folders) != watched:
                    yield
                    return


def folders(files: Iterable[Path]) -> frozenset[Path]:
    """Return every folder in which a rename can change what these paths lead to: their own, and those of links.

    Ten thousand files in one folder cost one look into it.
    """
    names: dict[Path, set[str]] = {}
    for path in files:
        names.setdefault(path.parent.absolute(), set()).add(path.name)
    found: set[Path] = set()
    for folder, wanted in names.items():
        # A folder's own way is that of any file in it that is no link.
        for name in ("", *(wanted & _links(folder))):
            found |= _parents(folder / (name or "any"), _MAX_LINKS)
    return frozenset(folder for folder in found if folder.is_dir())


def _links(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_symlink()}
    except OSError:
        return set()


def _parents(path: Path, links: int) -> set[Path]:
    found = {path.parent}
    for step in (path, *path.parents):
        if links and step.is_symlink():
            found.add(step.parent)
            target = step.parent / step.readlink() / path.relative_to(step)
            found |= _parents(target, links - 1)
    return found


def _folders_in(top: Path) -> list[Path]:
    return [path for path in top.rglob("*") if path.is_dir()]
