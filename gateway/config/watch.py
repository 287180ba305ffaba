"""Hot reload: the files are read again when they change, or on demand (SIGHUP, the admin API)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from typing import TYPE_CHECKING

from gateway.config.files import POLL_SECONDS, FileWatch
from gateway.config.loader import Loaded
from gateway.config.reloading import Outcome, reload
from gateway.errors import ConfigError, GatewayError, Mistake

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

LOG = logging.getLogger("portcullis.config")
READINGS = 5


class Watcher:
    """Reads the files again when they change and delivers what came of it: a Loaded, or the ConfigError that it is.

    `current` is asked for what is in force; `deliver` puts a Loaded in force, or reports the error. An error is
    delivered once, however often it is met again; a Loaded that `deliver` fails on is delivered again.
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
        self._watch = FileWatch(lambda: current().files, poll_seconds=poll_seconds)
        self._asked = self._ended = False
        self._waiting: list[asyncio.Future[Outcome]] = []
        self._seen = current().digest
        self._failed = ""

    def trigger(self) -> None:
        """Read the files again now, changed or not."""
        self._asked = True
        self._watch.trigger()

    async def reload(self) -> Outcome:
        """Read the files again now, changed or not, and return what came of it; needs `run` to be running."""
        told: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        if self._ended:
            told.cancel()
        self._waiting.append(told)
        self.trigger()
        return await told

    async def run(self) -> None:
        """Watch until cancelled; whoever waits for an outcome then is cancelled too."""
        try:
            await self._watch.every_look(self._look)
        finally:
            self._ended = True
            for told in self._waiting:
                told.cancel()

    async def _look(self) -> None:
        asked, self._asked = self._asked, False
        current = self._current()
        seen = await asyncio.to_thread(current.memory.fingerprint, current.files)
        if not (asked or self._failed) and seen == self._seen:
            return
        # Whoever asks from here on may have changed a file that is read already, and is told of the next look.
        waiting, self._waiting = self._waiting, []
        asked, self._asked = asked or self._asked, False
        try:
            outcome = await self._read_again(asked=asked, seen=seen)
        except BaseException:
            self._waiting += waiting
            raise
        for told in waiting:
            if not told.done():
                told.set_result(outcome)

    async def _read_again(self, *, asked: bool, seen: str) -> Outcome:
        found = await asyncio.to_thread(_attempt, self._current())
        # What was read counts, and not what lies there by now: a change made meanwhile is still news.
        self._seen = found.digest if isinstance(found, Loaded) else seen
        failed = str(found) if isinstance(found, ConfigError) else ""
        trouble = None
        if asked or not failed or failed != self._failed:
            try:
                await self._deliver(found)
            except GatewayError as error:
                # Tried again at the next look: an edit that takes rights away must not get lost with the moment.
                failed = trouble = str(error)
                LOG.error("the configuration was read and cannot be put in force: %s", error)
        self._failed = failed
        current = self._current()
        mistakes = found.mistakes if isinstance(found, ConfigError) else ()
        return Outcome(current.hash, mistakes, current.kept_back, trouble)


def _attempt(current: Loaded) -> Loaded | ConfigError:
    try:
        return unmixed(lambda: reload(current), lambda found: current.memory.fingerprint(found.files))
    except ConfigError as error:
        return error


def unmixed(read: Callable[[], Loaded], fingerprint: Callable[[Loaded], str]) -> Loaded:
    """Return what one reading of files says between whose first and last nothing was changed.

    A mount that is swapped in between would otherwise put half of the old files in force with half of the new ones.
    Raises ConfigError where the files do not come to rest.
    """
    for _ in range(READINGS):
        found = read()
        if fingerprint(found) == found.digest:
            return found
    raise ConfigError((Mistake(str(found.path), "", None, "changes while it is read, or a file that it names does"),))


@contextlib.contextmanager
def on_hangup(trigger: Callable[[], None]) -> Iterator[None]:
    """Call `trigger` on every SIGHUP, which otherwise would end the process; of the main thread's loop."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, trigger)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
