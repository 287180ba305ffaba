"""The four bundles as they stand, the polls that wait for news of them, and who has applied which revision."""

from __future__ import annotations

import asyncio
import itertools
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bundles.bundle import Content, build
from bundles.shelf import Claim, Served, Shelf, united
from bundles.waiting import Signal
from gateway.errors import GatewayError
from gateway.facts import Acknowledgement
from gateway.model import BUNDLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bundles.replicas import Replicas
    from bundles.signing import SigningKey
    from gateway.facts import Replica

LOG = logging.getLogger("portcullis.sync")


class NotServed(GatewayError):
    """There is nothing to serve yet, or any more."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Who of the counted replicas has applied `revision`; `current` is the newest revision that is served."""

    revision: int
    applied: tuple[str, ...]
    replicas: tuple[str, ...]
    current: int

    @property
    def complete(self) -> bool:
        """Whether there is nothing to wait for; with no replica, once the revision is served."""
        return self.current >= self.revision and self.applied == self.replicas


class Publisher:
    """Signs the bundles and hands them out. `boot` tells one life of sync from another in the ETags."""

    def __init__(self, key: SigningKey, boot: str, replicas: Replicas) -> None:
        self.replicas = replicas
        self.key = key
        self.epoch: str | None = None
        self.boot = boot
        self._shelves: dict[str, Shelf] = {}
        self._digests: dict[str, str] = {}
        self._news = {name: Signal() for name in BUNDLES}
        self._progress = Signal()
        self._closing = False
        self.withheld: frozenset[str] = frozenset()
        """The bundles that there is nothing of to serve until somebody mends something."""

    @property
    def ready(self) -> bool:
        """Whether each of the four is served that can be."""
        return self.answers and all(shelf.served or name in self.withheld for name, shelf in self._shelves.items())

    @property
    def answers(self) -> bool:
        """Whether it is known who has applied what: `live` is served, and with it every mutation."""
        return bool(self._shelves) and self._shelves["live"].served is not None

    @property
    def revision(self) -> int:
        """The newest revision of the ledger that the live bundle contains; 0 before there is one."""
        live = self._shelves.get("live")
        return max(live.through, 0) if live else 0

    async def served(self) -> None:
        """Wait until each of the four is served that can be."""
        while not self.ready:
            await self._progress.wait(asyncio.get_running_loop().time() + 1)

    def sequence(self, name: str) -> int:
        """Return the number of the archive of this bundle that is served, counted from 1; 0 while there is none."""
        served = self._shelves[name].served if self._shelves else None
        return served.sequence if served else 0

    def settled(self, revision: int) -> bool:
        """Say whether every change that the revision made is in what is served."""
        return bool(self._shelves) and all(shelf.settled(revision) for shelf in self._shelves.values())

    def begin(self, epoch: str) -> None:
        """Start afresh for a ledger's epoch: nothing served or acknowledged under another one counts."""
        self.epoch = epoch
        self._shelves = {name: Shelf(name, epoch, self.boot) for name in BUNDLES}
        self._digests.clear()
        self.withheld = frozenset()

    def close(self) -> None:
        """Let go of every held poll."""
        self._closing = True
        for signal in (*self._news.values(), self._progress):
            signal.fire()

    def withhold(self, name: str) -> None:
        """Note that there is nothing of this bundle to serve for now, and that the others do not wait for it."""
        if self._shelves[name].served is None:
            self.withheld |= {name}
            self._progress.fire()

    def claim(self, name: str, revision: int) -> Claim:
        """Note that revisions up to this one change the bundle in a way still to be built."""
        return self._shelves[name].claim(revision)

    def settle(self, name: str, revision: int) -> None:
        """Note that revisions up to this one did not change the bundle."""
        self._shelves[name].settle(revision)
        self._progress.fire()

    def digest(self, content: str) -> str:
        """Return what tells one archive from another: the digest of what it says, and whose key vouches for it."""
        return f"{self.key.id}:{content}"

    def sign(self, name: str, content: Content, revision: int) -> bytes:
        """Return a signed archive; touches no state, so it may run in a thread."""
        return build(name, content, revision, self.key)

    def serves(self, name: str, digest: str) -> bool:
        """Say whether content of this digest is what is served."""
        return self._shelves[name].served is not None and self._digests.get(name) == digest

    def publish(self, name: str, content: Content, revision: int, claim: Claim) -> None:
        """Serve the content that `claim` promised; an archive that says the same already stays."""
        digest = self.digest(content.digest())
        body = b"" if self.serves(name, digest) else self.sign(name, content, revision)
        self.put(name, digest, body, revision, claim)

    def put(self, name: str, digest: str, body: bytes, revision: int, claim: Claim) -> None:
        """Serve an archive that was made elsewhere of content of this digest."""
        if self.serves(name, digest):
            self._shelves[name].unchanged(claim)
        else:
            self._digests[name] = digest
            self.withheld -= {name}
            self._shelves[name].put(body, revision, claim)
            self._news[name].fire()
            LOG.debug("published %s at r%d, %d bytes", name, revision, len(body))
        self._progress.fire()

    def renew(self, name: str, content: Content, revision: int) -> None:
        """Serve content that vouches anew for the same facts: the heartbeat. It claims nothing."""
        self._digests[name] = self.digest(content.digest())
        self._shelves[name].put(self.sign(name, content, revision), revision)
        self._news[name].fire()

    def know(self, replicas: Sequence[Replica]) -> None:
        """Know these replicas, and forget what those that are gone have acknowledged."""
        for shelf, gone in itertools.product(self._shelves.values(), self.replicas.replace(replicas)):
            shelf.forget(gone)

    def recount(self) -> None:
        """Look again who is waited for."""
        self._progress.fire()

    def hear(self, rows: Sequence[Acknowledgement]) -> None:
        """Take what other syncs say of replicas."""
        if self.replicas.elsewhere.take(rows):
            self._progress.fire()

    async def poll(
        self, name: str, replica: str, if_none_match: str, wait: float | None, grace: float
    ) -> Served | None:
        """Answer one poll: news at once, else None, which a `wait` of so many seconds never hears before its end.

        While there is nothing to serve the poll is held for `grace` seconds; raises NotServed after that.
        """
        start = asyncio.get_running_loop().time()
        known = self.replicas.polls_here(replica)
        with self.replicas.polling(replica, name):
            self._heard(name, replica, if_none_match, known=known)
            while True:
                shelf = self._shelves.get(name)
                served = shelf.served if shelf else None
                if served and served.etag not in if_none_match:
                    return served
                if self._closing:
                    raise NotServed(name)
                if served and wait is None:
                    return None
                if not await self._news[name].wait(start + ((wait or 0) if served else grace)):
                    if served:
                        return None
                    raise NotServed(name)

    async def progress(self, revision: int, wait: float) -> Progress:
        """Return who has applied a revision: as soon as that is everybody, else after `wait` seconds."""
        deadline = asyncio.get_running_loop().time() + wait
        while not (now := self._progress_of(revision)).complete and not self._closing:
            if not await self._progress.wait(deadline):
                break
        return now

    async def moved(self, seconds: float) -> None:
        """Wait until somebody may have applied something, or for so many seconds."""
        await self._progress.wait(asyncio.get_running_loop().time() + seconds)

    def acknowledgement(self, replica: str, at: int) -> Acknowledgement | None:
        """Return what a replica that polls here has applied, for other syncs to know; None before there is anything."""
        if self.epoch is None:
            return None
        shelves = self._shelves.values()
        revision, lacking = united(
            min(shelf.through for shelf in shelves), (each for shelf in shelves for each in shelf.lacking(replica))
        )
        token = self.replicas.token_hash(replica)
        return Acknowledgement(replica, token, self.boot, self.epoch, revision, lacking, at)

    def describe(self, replica: str) -> dict[str, Any]:
        """Return for operators which revision of each bundle a replica has, None where it has not said it here.

        `applied` is the newest revision that it has, whichever sync says so; None before there is one.
        """
        has = {}
        for name, shelf in self._shelves.items():
            current = shelf.served is not None and shelf.acknowledged(replica) == shelf.served.sequence
            has[name] = shelf.served.revision if shelf.served and current else None
        said = self.replicas.said_elsewhere(replica) or self.acknowledgement(replica, 0)
        applied = said.revision if said and said.revision > 0 else None
        return {"name": replica, "bundles": has, "applied": applied, **self.replicas.describe(replica)}

    def _heard(self, name: str, replica: str, if_none_match: str, *, known: bool) -> None:
        shelf = self._shelves.get(name)
        if (shelf is not None and shelf.heard(replica, if_none_match)) or not known:
            self._progress.fire()

    def _progress_of(self, revision: int) -> Progress:
        counted = tuple(self.replicas.counted())
        applied = tuple(who for who in counted if self._has(who, revision))
        return Progress(revision, applied, counted, self.revision)

    def _has(self, replica: str, revision: int) -> bool:
        if not self.replicas.known_here(replica):
            said = self.replicas.said_elsewhere(replica)
            return said is not None and said.covers(self.epoch, revision)
        shelves = self._shelves.values()
        return bool(shelves) and all(shelf.applied(replica, revision) for shelf in shelves)
