"""Whether every replica has applied a revision: the gateway's side of the sync service's control API."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
import orjson

from gateway.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LOG = logging.getLogger("portcullis.replication")
WAIT_SECONDS = 2.0
RETRY_SECONDS = 0.05
MAX_ANSWER_BYTES = 1 << 20
UNANSWERED = (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError)


@dataclass(frozen=True, slots=True)
class Applied:
    """How many of the counted replicas enforce a revision; none of none is not all."""

    by: int
    of: int

    @property
    def everywhere(self) -> bool:
        """Whether there is a replica at all and each has it."""
        return self.of > 0 and self.by >= self.of

    def __str__(self) -> str:
        return f"{self.by}/{self.of}"


@dataclass(frozen=True, slots=True)
class SyncHealth:
    """How sync is: how many of the counted replicas have not applied a revision, and what it says is wrong."""

    replicas: int
    behind: int
    problems: tuple[str, ...]


class Replication:
    """Asks sync; where sync does not answer, the count is what the ledger knows and nobody is known to have applied.

    `replica` is this gateway's own name, `counted` returns how many the ledger counts.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        token: Callable[[], str],
        replica: str,
        counted: Callable[[], Awaitable[int]],
    ) -> None:
        self._session = session
        self._replica = replica
        self._url = url.rstrip("/")
        self._token = token
        self._counted = counted

    async def applied(self, revision: int, wait: float = WAIT_SECONDS) -> Applied:
        """Return who has applied a revision, waiting up to `wait` seconds for everybody."""
        try:
            applied, replicas = await self._ask(revision, wait)
            return Applied(by=len(applied), of=len(replicas))
        except UNANSWERED as error:
            LOG.warning("sync does not say who has applied r%d: %r", revision, error)
            return Applied(by=0, of=await self._known())

    async def _known(self) -> int:
        """Return how many replicas the ledger counts; a mutation that is done stays done if that cannot be read."""
        try:
            return await self._counted()
        except Unavailable as error:
            LOG.warning("the replicas cannot be counted: %s", error)
            return 0

    async def catch_up(self, revision: int, patience: float) -> bool:
        """Return whether this gateway's own OPA has a revision, asking for up to `patience` seconds, once at least."""
        deadline = asyncio.get_running_loop().time() + patience
        while True:
            with contextlib.suppress(*UNANSWERED):
                # Not for long: it would be for the slowest of all replicas.
                applied, _ = await self._ask(revision, RETRY_SECONDS)
                if self._replica in applied:
                    return True
            if asyncio.get_running_loop().time() >= deadline:
                return False
            await asyncio.sleep(RETRY_SECONDS)

    async def sync_health(self, revision: int) -> SyncHealth | None:
        """Return how sync is and who has not applied a revision, None where it does not say so."""
        with contextlib.suppress(*UNANSWERED):
            async with asyncio.timeout(WAIT_SECONDS):
                progress = orjson.loads(await self._request("GET", f"/revisions/{revision}"))
                health = orjson.loads(await self._request("GET", "/health"))
                behind = set(progress["replicas"]) - set(progress["applied"])
                return SyncHealth(len(progress["replicas"]), len(behind), tuple(map(str, health["problems"])))
        return None

    async def _ask(self, revision: int, wait: float) -> tuple[list[str], list[str]]:
        """Return the names of the replicas that have applied a revision, and of all that count."""
        async with asyncio.timeout(wait + 0.5):
            await self._request("POST", "/changed")
            answer = orjson.loads(await self._request("GET", f"/revisions/{revision}?wait={wait:g}"))
            return list(answer["applied"]), list(answer["replicas"])

    async def _request(self, method: str, path: str) -> bytes:
        headers = {"Authorization": f"Bearer {self._token()}"}
        async with self._session.request(method, self._url + path, headers=headers, allow_redirects=False) as response:
            if response.status >= 300:
                raise aiohttp.ClientError(f"{method} {path.partition('?')[0]} answered {response.status}")
            return await response.content.read(MAX_ANSWER_BYTES)
