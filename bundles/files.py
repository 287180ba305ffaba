"""Noticing that a file changed, by the folder it lies in: editors and Kubernetes replace files, not their content."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from watchfiles import awatch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

DEBOUNCE_MS = 100
STEP_MS = 20
# A Kubernetes volume changes all its files at once by moving this link.
KUBERNETES_LINK = "..data"


class FileWatch:
    """Watches what `paths` returns: files, and folders with all that is in them; asked anew after each change."""

    def __init__(self, paths: Callable[[], set[Path]]) -> None:
        self._paths = paths

    async def run(self, changed: Callable[[], Awaitable[None]]) -> None:
        """Call `changed` after each change, until cancelled."""
        while True:
            watched = self._watched()
            folders = {path for path in watched if path.is_dir()}
            names = {str(path) for path in watched - folders}
            parents = {path.parent for path in watched - folders if path.parent.is_dir()}
            moved_on = asyncio.Event()

            async def noticed(before: set[Path] = watched, moved_on: asyncio.Event = moved_on) -> None:
                await changed()
                if self._watched() != before:
                    moved_on.set()

            def concerns(_: object, name: str, names: set[str] = names) -> bool:
                # The ledger may lie beside config.yaml, and is written all the time.
                return name in names or Path(name).name == KUBERNETES_LINK

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_each(parents, False, concerns, moved_on, noticed))
                tasks.create_task(_each(folders, True, None, moved_on, noticed))

    def _watched(self) -> set[Path]:
        return {path.absolute() for path in self._paths()}


async def _each(
    places: set[Path],
    deep: bool,
    concerns: Callable[[object, str], bool] | None,
    stop: asyncio.Event,
    noticed: Callable[[], Awaitable[None]],
) -> None:
    if not places:
        await stop.wait()
        return
    changes = awatch(
        *sorted(places), watch_filter=concerns, debounce=DEBOUNCE_MS, step=STEP_MS, stop_event=stop, recursive=deep
    )
    async for _ in changes:
        await noticed()
