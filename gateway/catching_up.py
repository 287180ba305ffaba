"""The files of a gateway, read again because somebody asks for it, or because OPA decides by others already.

OPA may be ahead of a gateway where there are several: it decides by files that this one has not read yet, which are
read at once then. Where that does not help, the gateway and the data of policy are of different files, which readiness
and doctor report as drift; calls go where the files here say, and nobody waits a second time.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import Unavailable
from gateway.single_flight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AsyncExitStack

    from gateway.config.reloading import Outcome
    from gateway.replication import Applied

LOG = logging.getLogger("portcullis.gateway")
PATIENCE_SECONDS = 2.0
MAX_GIVEN_UP = 100


@dataclass(frozen=True, slots=True)
class Reread:
    """What came of reading the files again: the revision of what is in force, and which replicas decide by it."""

    outcome: Outcome
    revision: int
    applied: Applied


async def nobody() -> Reread:
    """Read nothing, before there is anybody who watches the files; raises Unavailable."""
    raise Unavailable("nobody watches the files")


class CatchUp:
    """`knows` says whether a configuration is here; `reread` is set by whoever watches the files."""

    def __init__(self, knows: Callable[[str], bool], *, patience: float = PATIENCE_SECONDS) -> None:
        self.reread: Callable[[], Awaitable[Reread]] = nobody
        self._knows = knows
        self._patience = patience
        self._given_up: dict[str, None] = {}
        self._reading = SingleFlight(self._read)

    async def now(self) -> Reread:
        """Read the files again, put in force what they say, and return what came of it; raises Unavailable."""
        return await self.reread()

    async def to(self, config: str) -> None:
        """Return once this configuration is here, or the files do not have it."""
        if config in self._given_up or self._knows(config):
            return
        await self._reading()
        if not self._knows(config) and config not in self._given_up:
            LOG.warning("policy decides by the configuration %s, which the files here do not have", config)
            self._given_up[config] = None
            if len(self._given_up) > MAX_GIVEN_UP:
                del self._given_up[next(iter(self._given_up))]

    async def close(self) -> None:
        """Stop reading."""
        await self._reading.close()

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await self.reread()
        except (TimeoutError, Unavailable) as error:
            LOG.warning("the files could not be read again: %r", error)


def catching_up(stack: AsyncExitStack, knows: Callable[[str], bool]) -> CatchUp:
    """Return a CatchUp that stops when the stack unwinds."""
    made = CatchUp(knows)
    stack.push_async_callback(made.close)
    return made
