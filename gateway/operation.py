"""A running gateway: what makes it ready, how it takes a new configuration, how it drains."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway import audit
from gateway.errors import DecisionUnavailable, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config import Live, Loaded
    from gateway.endpoints.gate import Door
    from gateway.facts import LedgerMeta
    from gateway.ledger import Ledger
    from gateway.registration import Registration
    from gateway.rooms import Rooms
    from gateway.sidecars import Sidecars

LOG = logging.getLogger("portcullis.gateway")
CATCH_UP_SECONDS = 10.0
# A start of OPA is known of by the next look at the latest, and decisions wait for it.
LOOK_SECONDS = 0.25
LOOK_AGAIN_SECONDS = 0.02
AGE_POLL_SECONDS = 5.0
RETRY_SECONDS = 0.5
# How long a reload waits for servers to be listed; a slower one is listed all the same, beside everything else.
LISTING_SECONDS = 2.0


@dataclass(slots=True)
class Gateway:
    """A running gateway, and what a reload, a drain and the ready line need of it.

    `generated_at` is when the live data that OPA decides on was made, in seconds since the epoch; 0 until OPA says.
    """

    loaded: Loaded
    ledger: Ledger
    live: Live[Door]
    rooms: Rooms
    sidecars: Sidecars
    registration: Registration
    address: str = ""
    draining: bool = False
    caught_up: bool = False
    generated_at: int = 0
    contested: int = 0
    drifted: bool = False

    async def waiting_for(self) -> tuple[str, ...]:
        """Return what keeps this gateway from being ready, nothing if it is; no names, anybody may ask."""
        missing = ["draining"] if self.draining else []
        missing += [] if self.caught_up else ["newest revision"]
        missing += ["servers"] if self.rooms.inventory.unlisted else []
        if not self.rooms.follower.reachable:
            missing.append("ledger")
        if not self.registration.counted:
            missing.append("registration")
        if trouble := self.sidecars.trouble():
            LOG.debug("not ready: %s", trouble)
            missing.append("opa")
        if why := await self.rooms.pdp(self.live.value.config).ready():
            LOG.debug("not ready: %s", why)
            missing.append("policy")
        return tuple(missing)

    async def catch_up(self) -> None:
        """Wait for what the ledger knew at start: OPA begins with the bundles on its disk, which may be older.

        Without sync, those on the disk are what there is.
        """
        revision = (await self._standing()).revision
        patience = CATCH_UP_SECONDS if self.sidecars.sync else 0.0
        if not await self.rooms.replication.catch_up(revision, patience):
            LOG.warning("started without sync: OPA decides on the bundles of its disk, if it has any")
        self.caught_up = True

    async def _standing(self) -> LedgerMeta:
        """Return where the ledger stands, when it can be asked."""
        while True:
            with contextlib.suppress(Unavailable):
                return await self.ledger.meta()
            await asyncio.sleep(RETRY_SECONDS)

    def add_gauges(self) -> None:
        """Add the gauges that are looked up when somebody reads the metrics."""
        for name, text, value in GAUGES:
            self.rooms.metrics.gauge(name, text, functools.partial(value, self))

    async def follow_bundles(self) -> None:
        """Keep looking at the bundles that OPA has, until cancelled; at first, and after each start of it, at once."""
        while True:
            trusted = await self.rooms.provenance.look()
            await asyncio.sleep(LOOK_SECONDS if trusted else LOOK_AGAIN_SECONDS)

    async def follow_data(self) -> None:
        """Keep asking OPA for what the gauges say of its data; while it does not answer, the age grows."""
        while True:
            with contextlib.suppress(DecisionUnavailable):
                pdp = self.rooms.pdp(self.live.value.config)
                self.generated_at = await pdp.generated_at()
                self.contested = await pdp.contested()
                self.drifted = await pdp.configuration() != self.loaded.hash
            await asyncio.sleep(AGE_POLL_SECONDS)

    async def drain(self) -> None:
        """Fail readiness, let what is in flight finish, and return when it has or the time is over."""
        self.draining = True
        seconds = self.live.value.config.server.drain_seconds
        LOG.info("draining for up to %g s", seconds)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.rooms.gate.in_flight.idle()

    async def reload(self, loaded: Loaded) -> None:
        """Put another configuration in force; requests that have begun finish under theirs."""
        event = audit.event("ConfigReloaded", "success", target={"config": loaded.hash})
        revision = await self.ledger.note_config(loaded.hash, event)
        self.rooms.trail.record_elsewhere(event)
        self.rooms.use(loaded.config)
        retired, self.loaded = self.live.value, loaded
        # Before anything is waited for: a server that does not answer must not keep a retired issuer's tokens good.
        self.live.set(self.rooms.door(loaded.config, retired.authn))
        await retired.authn.close(self.live.value.authn)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LISTING_SECONDS):
                await self.rooms.inventory.refresh_all()
        applied = await self.rooms.replication.applied(revision)
        LOG.info("configuration reloaded as r%d, applied by %s", revision, applied)


def _revision(gateway: Gateway) -> int:
    mark = gateway.rooms.mark.value
    return mark.revision if mark else 0


def _opa_restarts(gateway: Gateway) -> int:
    return gateway.sidecars.engine.restarts if gateway.sidecars.engine else 0


def _sync_restarts(gateway: Gateway) -> int:
    return gateway.sidecars.sync.restarts if gateway.sidecars.sync else 0


GAUGES: tuple[tuple[str, str, Callable[[Gateway], float]], ...] = (
    ("policy_revision", "Newest revision decided on.", _revision),
    ("policy_age_seconds", "Age of the live data that OPA decides on.", lambda it: time.time() - it.generated_at),
    ("names_contested", "Tools that share their flat name with another's.", lambda it: it.contested),
    ("config_drift", "1 while OPA decides by another configuration than this gateway's.", lambda it: it.drifted),
    ("opa_restarts", "Restarts of the supervised OPA.", _opa_restarts),
    ("sync_restarts", "Restarts of the supervised sync.", _sync_restarts),
    ("definitions_missing", "Tools left out of lists, having no definition.", lambda it: it.rooms.inventory.left_out),
    ("definitions_refused", "Definitions that nobody is offered.", lambda it: sum(it.rooms.upstreams.dropped.values())),
)
