"""A running gateway: what makes it ready, how it takes a new configuration, how it drains."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway import audit
from gateway.catching_up import Reread
from gateway.errors import DecisionUnavailable, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.config import Live, Loaded
    from gateway.config.reloading import Outcome
    from gateway.endpoints.gate import Door
    from gateway.facts import LedgerMeta
    from gateway.ledger import Ledger
    from gateway.registration import Registration, Uncounted
    from gateway.replication import Applied, SyncHealth
    from gateway.rooms import Rooms
    from gateway.sidecars import Sidecars

LOG = logging.getLogger("portcullis.gateway")
CATCH_UP_SECONDS = 10.0
# A start of OPA is known of by the next look at the latest, and decisions wait for it.
LOOK_SECONDS = 0.25
LOOK_AGAIN_SECONDS = 0.02
AGE_POLL_SECONDS = 5.0
RETRY_SECONDS = 0.5
SETTLE_SECONDS = 0.02
# A start with OPA and sync as children takes less, also on a machine that is busy.
START_SECONDS = 10.0
COUNT_SECONDS = 5.0
# How long a reload waits for servers to be listed; a slower one is listed all the same, beside everything else.
LISTING_SECONDS = 2.0


@dataclass(slots=True)
class Gateway:
    """A running gateway, and what a reload, a drain and the ready line need of it.

    `in_touch` is whether sync answered at the start; `generated_at` is when the live data that OPA decides on was made,
    in seconds since the epoch, and `revision` which one of the ledger that is; both are 0 until OPA says. `sync_health`
    is how sync is, None where it does not say so.
    """

    loaded: Loaded
    ledger: Ledger
    live: Live[Door]
    rooms: Rooms
    sidecars: Sidecars
    registration: Registration | Uncounted
    address: str = ""
    draining: bool = False
    caught_up: bool = False
    in_touch: bool = False
    generated_at: int = 0
    revision: int = 0
    contested: int = 0
    drifted: bool = False
    sync_health: SyncHealth | None = None
    undecided: str | None = None
    """Why OPA gave no decision that may be trusted when it was last asked for readiness, None where it did."""
    open_connections: Callable[[], int] = lambda: 0
    reloaded: tuple[int, Applied] | None = None
    """The revision of the last reload, and who had applied it."""

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
        self.undecided = await self.rooms.pdp(self.live.value.config).ready()
        if self.undecided:
            LOG.debug("not ready: %s", self.undecided)
            missing.append("policy")
        return tuple(missing)

    async def catch_up(self) -> None:
        """Wait for what the ledger knew at start: OPA begins with the bundles on its disk, which may be older.

        Without sync, those on the disk are what there is.
        """
        revision = (await self._standing()).revision
        patience = CATCH_UP_SECONDS if self.sidecars.sync else 0.0
        self.in_touch = await self.rooms.replication.catch_up(revision, patience)
        if not self.in_touch:
            LOG.warning("started without sync: OPA decides on the bundles of its disk, if it has any")
        self.caught_up = True

    async def _standing(self) -> LedgerMeta:
        """Return where the ledger stands, when it can be asked."""
        while True:
            with contextlib.suppress(Unavailable):
                return await self.ledger.meta()
            await asyncio.sleep(RETRY_SECONDS)

    async def settled(self) -> None:
        """Return once this gateway is ready and decides on what its servers offer, as far as they could be listed.

        What keeps it waiting is said when that takes longer than a start does, each reason once.
        """
        told: set[str] = set()
        loop = asyncio.get_running_loop()
        # An OPA that others start is there already, or that is worth knowing at once.
        patience = loop.time() + (START_SECONDS if self.sidecars.engine else 0.0)
        while missing := await self.waiting_for():
            why = self._waits_for(missing)
            if why not in told and loop.time() >= patience:
                LOG.warning("not ready yet: %s", why)
                told.add(why)
            await asyncio.sleep(SETTLE_SECONDS)
        if self.in_touch:
            await self.rooms.replication.catch_up((await self._standing()).revision, CATCH_UP_SECONDS)

    def _waits_for(self, missing: tuple[str, ...]) -> str:
        if self.undecided is None:
            return f"waiting for {', '.join(missing)}"
        return f"OPA at {self.sidecars.opa_url} gives no decision: {self.undecided}"

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
                self.revision = await pdp.revision()
                self.contested = await pdp.contested()
                self.drifted = not self.loaded.hash.startswith(await pdp.configuration())
            await asyncio.sleep(AGE_POLL_SECONDS)

    async def follow_sync(self) -> None:
        """Keep asking sync how it is, and who has not applied by now what the ledger said a while ago."""
        while True:
            revision = self.rooms.follower.revision
            await asyncio.sleep(AGE_POLL_SECONDS)
            self.sync_health = await self.rooms.replication.sync_health(revision)

    def knows_server(self, name: str) -> bool:
        """Say whether a server of this name may be called: one of the configuration's, or a tenant's own."""
        door = self.live.value
        return name in door.config.mcp_servers or name.rpartition(":")[0] in door.tenants

    def watched(self, look: Callable[[], Awaitable[Outcome]]) -> None:
        """Have the files read again by `look`, which puts them in force, whenever somebody asks for that."""

        async def reread() -> Reread:
            before, outcome = self.reloaded, await look()
            if self.reloaded is not None and self.reloaded is not before:
                return Reread(outcome, *self.reloaded)
            revision = (await self.ledger.meta()).revision
            return Reread(outcome, revision, await self.rooms.replication.applied(revision))

        self.rooms.catch_up.reread = reread

    async def count_gateways(self) -> None:
        """Keep counting the gateways that share each tenant's limits; unread, the last count holds."""
        while True:
            with contextlib.suppress(Unavailable):
                self.rooms.allowance.quotas.among(len(await self.ledger.replicas()))
            await asyncio.sleep(COUNT_SECONDS)

    async def drain(self) -> None:
        """Fail readiness, let what is in flight finish, and return when it has or the time is over."""
        self.draining = True
        seconds = self.live.value.config.server.drain_seconds
        LOG.info("draining for up to %g s", seconds)
        self.rooms.streams.end_lasting("draining")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.rooms.gate.in_flight.idle()

    async def reload(self, loaded: Loaded) -> None:
        """Put another configuration in force; requests that have begun finish under theirs."""
        event = audit.event("ConfigReloaded", "success", target={"config": loaded.hash})
        # Before it is recorded: OPA may decide by it the moment that it is.
        self.rooms.route(loaded)
        revision = await self.ledger.note_config(loaded.hash, event)
        self.rooms.trail.record_elsewhere(event)
        self.rooms.use(loaded.config)
        retired, self.loaded = self.live.value, loaded
        # Before anything is waited for: a server that does not answer must not keep a retired issuer's tokens good.
        self.live.set(self.rooms.door(loaded, retired.authn))
        await retired.authn.close(self.live.value.authn)
        self.rooms.metrics.retain(self.knows_server)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LISTING_SECONDS):
                await self.rooms.inventory.refresh_all()
        applied = await self.rooms.replication.applied(revision)
        self.reloaded = revision, applied
        LOG.info("configuration reloaded as r%d, applied by %s", revision, applied)
