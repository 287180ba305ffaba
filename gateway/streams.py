"""Every stream that is open to an agent: how many there may be, and that none outlives the right to it (A28, A40).

A stream is checked whenever the ledger says something new, until the decision is of that revision, and every minute
beside that: the credential is authenticated again, and policy asked again. It ends the moment that its
credential expires.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from gateway.errors import DecisionUnavailable, GatewayError, TooManyStreams
from gateway.model import CredentialKind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterable

    from gateway.ids import Kind
    from gateway.model import Principal

LOG = logging.getLogger("portcullis.streams")

LOOK_SECONDS = 0.1
CHECK_SECONDS = 60.0
# How long a new revision may take to reach the decisions; after that the next round of checks has it.
APPLY_SECONDS = 10.0
# Bundles arrive one by one, and what is seen may change a moment after the decision is of the new revision.
SETTLE_SECONDS = 2.0
AT_ONCE = 16
# For so long may checks come to no decision: what cannot be decided is not admitted, but OPA may be starting again.
DOUBT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How many streams may be open at once, and for how many seconds one that ends by nothing else."""

    per_credential: int = 256
    per_tenant: int = 2048
    total: int = 3072
    max_age: float = 4 * 3600.0


class Listener(Protocol):
    """Who wants to hear what is new at servers."""

    def changed_at(self, server: str, kinds: frozenset[Kind]) -> None:
        """Note that a server offers something else of some kinds than before."""

    def updated_at(self, server: str, uri: str) -> None:
        """Note that a resource of a server has changed."""


class Stream:
    """One open stream. `lasting` says that it answers no request, and so has no end of its own."""

    __slots__ = (
        "check",
        "doubted_at",
        "end",
        "ended",
        "lasting",
        "listener",
        "opened_at",
        "principal",
        "revision",
        "timer",
    )

    def __init__(
        self,
        principal: Principal,
        end: Callable[[str], None],
        check: Callable[[], Awaitable[int]],
        listener: Listener | None,
        *,
        lasting: bool,
        opened_at: float,
    ) -> None:
        self.listener = listener
        self.principal = principal
        self.end = end
        self.check = check
        self.lasting = lasting
        self.opened_at = opened_at
        self.ended = False
        self.doubted_at: float | None = None
        self.revision = 0
        self.timer: asyncio.TimerHandle | None = None


class Streams:
    """The streams of this replica."""

    def __init__(self, limits: Limits | None = None, *, clock: Callable[[], float] = time.time) -> None:
        """`clock` is in seconds since the epoch."""
        self._limits = limits or Limits()
        self._clock = clock
        self._open: dict[Stream, None] = {}
        self._by_credential: Counter[Hashable] = Counter()
        self._by_tenant: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def open(
        self,
        principal: Principal,
        end: Callable[[str], None],
        check: Callable[[], Awaitable[int]],
        *,
        lasting: bool = False,
        listener: Listener | None = None,
    ) -> Stream:
        """Count a stream in until it is closed; raises TooManyStreams.

        `check` asks again whether the principal may have it and returns the revision that said so, and raises
        GatewayError where it may not; `end` is told once, in a word or two, why it has to end, and
        `listener` what is new at servers.
        """
        self._require_room(principal)
        stream = Stream(principal, end, check, listener, lasting=lasting, opened_at=self._clock())
        self._open[stream] = None
        self._by_credential[credential_of(principal)] += 1
        if principal.tenant is not None:
            self._by_tenant[principal.tenant] += 1
        expires_at = principal.credential.expires_at if principal.credential else None
        if expires_at is not None and expires_at > stream.opened_at:
            left = expires_at - stream.opened_at
            stream.timer = asyncio.get_running_loop().call_later(left, self._end, stream, "credential expired")
        return stream

    def close(self, stream: Stream) -> None:
        """Count a stream out."""
        if self._open.pop(stream, stream) is stream:
            return
        principal = stream.principal
        _drop(self._by_credential, credential_of(principal))
        if principal.tenant is not None:
            _drop(self._by_tenant, principal.tenant)
        if stream.timer is not None:
            stream.timer.cancel()

    def end_lasting(self, why: str) -> None:
        """End those streams that would not end by themselves."""
        for stream in [one for one in self._open if one.lasting]:
            self._end(stream, why)

    def changed(self, server: str, kinds: frozenset[Kind]) -> None:
        """Tell those who listen that a server offers something else of some kinds than before."""
        for stream in self._open:
            if stream.listener is not None:
                stream.listener.changed_at(server, kinds)

    def updated(self, server: str, uri: str) -> None:
        """Tell those who listen that a resource of a server has changed."""
        for stream in self._open:
            if stream.listener is not None:
                stream.listener.updated_at(server, uri)

    async def watch(self, revision: Callable[[], int]) -> None:
        """Check the streams until cancelled; `revision` is the newest of the ledger that is known of."""
        seen, loop = revision(), asyncio.get_running_loop()
        again = loop.time() + CHECK_SECONDS
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = revision()
            if now != seen:
                await self.check_until(now)
                seen, again = now, loop.time() + SETTLE_SECONDS
            elif loop.time() >= again:
                await self._check(self._open)
                doubted = any(stream.doubted_at is not None for stream in self._open)
                again = loop.time() + (DOUBT_SECONDS if doubted else CHECK_SECONDS)

    async def check_until(self, revision: int) -> None:
        """Check every stream, again and again until the decision is of this revision."""
        loop = asyncio.get_running_loop()
        until = loop.time() + APPLY_SECONDS
        behind: Iterable[Stream] = self._open
        while behind := [stream for stream in behind if stream in self._open and not stream.ended]:
            await self._check(behind)
            behind = [stream for stream in behind if stream.revision < revision]
            if not behind or loop.time() > until:
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def _check(self, streams: Iterable[Stream]) -> None:
        self._end_old()
        waiting = iter(list(streams))

        async def some() -> None:
            for stream in waiting:
                if stream in self._open and not stream.ended:
                    await self._checked(stream)

        await asyncio.gather(*(some() for _ in range(AT_ONCE)))

    async def _checked(self, stream: Stream) -> None:
        try:
            stream.revision, stream.doubted_at = await stream.check(), None
        except DecisionUnavailable:
            now = self._clock()
            stream.doubted_at = now if stream.doubted_at is None else stream.doubted_at
            if now - stream.doubted_at >= DOUBT_SECONDS:
                self._end(stream, "no decision is available")
        except GatewayError:
            self._end(stream, "not permitted any more")
        except Exception:  # (a defect in one check must neither keep its stream open nor end the watch)
            LOG.exception("a stream could not be checked")
            self._end(stream, "could not be checked")

    def _end_old(self) -> None:
        oldest = self._clock() - self._limits.max_age
        for stream in [one for one in self._open if one.lasting and one.opened_at < oldest]:
            self._end(stream, "open for too long")

    def _end(self, stream: Stream, why: str) -> None:
        if not stream.ended and stream in self._open:
            stream.ended = True
            stream.end(why)

    def _require_room(self, principal: Principal) -> None:
        limits, tenant = self._limits, principal.tenant
        if len(self._open) >= limits.total:
            raise TooManyStreams("as many streams are open as this gateway holds")
        if tenant is not None and self._by_tenant[tenant] >= limits.per_tenant:
            raise TooManyStreams("as many streams are open as a tenant may have")
        if self._by_credential[credential_of(principal)] >= limits.per_credential:
            raise TooManyStreams("as many streams are open as a credential may have")


def credential_of(principal: Principal) -> Hashable:
    """Return what a principal's streams are counted by; its tokens of an issuer come and go, and count as one."""
    stays = principal.credential is not None and principal.kind is not CredentialKind.JWT
    return (principal.identity, principal.credential.id if stays and principal.credential else None)


def _drop(counter: Counter[Any], key: Hashable) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
