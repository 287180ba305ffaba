"""Hot reload: the files are read again when they change, or on demand (SIGHUP, the admin API)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from typing import TYPE_CHECKING

from gateway.config.files import POLL_SECONDS, FileWatch, fingerprint
from gateway.config.loader import Loaded
from gateway.config.reloading import reload
from gateway.errors import ConfigError, GatewayError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

LOG = logging.getLogger("portcullis.config")


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
        self._asked = False
        self._seen = current().digest
        self._failed = ""

    def trigger(self) -> None:
        """Read the files again now, changed or not."""
        self._asked = True
        self._watch.trigger()

    async def run(self) -> None:
        """Watch until cancelled."""
        await self._watch.every_look(self._look)

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
                # Tried again at the next look: an edit that takes rights away must not get lost with the moment.
                failed = str(error)
                LOG.error("the configuration was read and cannot be put in force: %s", error)
        self._failed = failed


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
