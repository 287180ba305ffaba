"""Hot reload: the files are read again when they change, or on demand (SIGHUP, the admin API).

What is watched are folders, so that an editor's rename and a swapped symbolic link are seen like a write. A slow poll
of the files' contents stands behind it, for file systems that tell nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from typing import TYPE_CHECKING

import watchfiles

from gateway.config.document import MAX_BYTES
from gateway.config.loader import Loaded
from gateway.config.references import digest, read
from gateway.config.reloading import reload
from gateway.errors import ConfigError, GatewayError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
    from pathlib import Path

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
        self._seen = current().digest
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
                # Not wait_for: on Python 3.11 it can swallow a cancellation that comes together with the news.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_seconds):
                        await self._news.wait()
                self._news.clear()
                await self._look()

    async def _look(self) -> None:
        asked, self._asked = self._asked, False
        seen = await asyncio.to_thread(fingerprint, self._current().files)
        if not (asked or self._failed) and seen == self._seen:
            return
        outcome = await asyncio.to_thread(_attempt, self._current())
        # What was read counts, and not what lies there by now: a change made meanwhile is still news.
        self._seen = outcome.digest if isinstance(outcome, Loaded) else seen
        failed = str(outcome) if isinstance(outcome, ConfigError) else ""
        if asked or not failed or failed != self._failed:
            try:
                await self._deliver(outcome)
            except GatewayError as error:
                LOG.error("the configuration was read and cannot be put in force: %s", error)
        self._failed = failed

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
    """Return the digest of the files as they are now; one that cannot be read counts as empty."""
    contents = dict.fromkeys(files, b"")
    for path in contents:
        with contextlib.suppress(OSError):
            contents[path] = read(path, MAX_BYTES)
    return digest(contents)


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
