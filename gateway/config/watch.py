"""Hot reload: the files are read again when they change, or on demand (SIGHUP, the admin API).

What is watched are folders, so that an editor's rename and a swapped symbolic link are seen like a write. A slow poll
of the files' contents stands behind it, for file systems that tell nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import signal
from typing import TYPE_CHECKING

import watchfiles

from gateway.config.reloading import reload
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
    from pathlib import Path

    from gateway.config.loader import Loaded

LOG = logging.getLogger("portcullis.config")
POLL_SECONDS = 5.0
_MAX_LINKS = 40


class Watcher:
    """Reads the files again when they change and delivers what came of it: a Loaded, or the ConfigError that it is.

    `current` is asked for what is in force; `deliver` puts a Loaded in force, or reports the error. An error is
    delivered once, however often it is met again.
    """

    def __init__(
        self,
        current: Callable[[], Loaded],
        deliver: Callable[[Loaded | ConfigError], Awaitable[None]],
        *,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._current = current
        self._deliver = deliver
        self._poll_seconds = poll_seconds
        self._news = asyncio.Event()
        self._asked = False
        self._seen = fingerprint(current().files)
        self._failed = ""

    def trigger(self) -> None:
        """Read the files again now, changed or not."""
        self._asked = True
        self._news.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), self._poll_seconds)
                self._news.clear()
                await self._look()

    async def _look(self) -> None:
        asked, self._asked = self._asked, False
        seen = await asyncio.to_thread(fingerprint, self._current().files)
        if not (asked or self._failed) and seen == self._seen:
            return
        self._seen = seen
        outcome = await asyncio.to_thread(_attempt, self._current())
        failed = str(outcome) if isinstance(outcome, ConfigError) else ""
        if asked or not failed or failed != self._failed:
            await self._deliver(outcome)
        self._failed = failed
        self._seen = await asyncio.to_thread(fingerprint, self._current().files) if not failed else seen

    async def _listen(self) -> None:
        while True:
            try:
                async for _ in self._changes():
                    self._news.set()
            except (OSError, RuntimeError) as error:
                LOG.warning("the folders of the configuration cannot be watched, only polled: %s", error)
                await asyncio.sleep(self._poll_seconds)

    async def _changes(self) -> AsyncIterator[None]:
        """Yield at every change in the watched folders, until they are no longer the ones to watch."""
        watched = folders(self._current().files)
        timeout = int(self._poll_seconds * 1000)
        changes = watchfiles.awatch(
            *watched, recursive=False, watch_filter=None, debounce=200, rust_timeout=timeout, yield_on_timeout=True
        )
        async with contextlib.aclosing(changes):
            async for change in changes:
                if change:
                    yield
                if folders(self._current().files) != watched:
                    yield
                    return


def _attempt(current: Loaded) -> Loaded | ConfigError:
    try:
        return reload(current)
    except ConfigError as error:
        return error


@contextlib.contextmanager
def on_hangup(trigger: Callable[[], None]) -> Iterator[None]:
    """Call `trigger` on every SIGHUP, which otherwise would end the process; of the main thread's loop."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, trigger)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


def fingerprint(files: Iterable[Path]) -> str:
    """Return a digest of the files' contents; a file that cannot be read counts as absent."""
    digest = hashlib.sha256()
    for path in sorted(files):
        content = b""
        with contextlib.suppress(OSError):
            content = path.read_bytes()
        digest.update(f"{path}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def folders(files: Iterable[Path]) -> frozenset[Path]:
    """Return every folder in which a rename can change what these paths lead to: their own, and those of links."""
    found: set[Path] = set()
    for path in files:
        found |= _folders(path.absolute(), _MAX_LINKS)
    return frozenset(folder for folder in found if folder.is_dir())


def _folders(path: Path, links: int) -> set[Path]:
    found = {path.parent}
    for step in (path, *path.parents):
        if links and step.is_symlink():
            found.add(step.parent)
            target = step.parent / step.readlink() / path.relative_to(step)
            found |= _folders(target, links - 1)
    return found
