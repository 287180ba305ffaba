"""THE composition root: builds every object once, in dependency order, on one exit stack."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp

from bundles.collisions import collisions
from bundles.overlay import config_withdrawals
from bundles.reach import reach
from bundles.signing import ensure_key, verification_keys
from gateway import background, observed
from gateway.allowance import allowance
from gateway.audit import AuditTrail, now_ms, prune_hourly
from gateway.audit_file import AuditFile
from gateway.authn import CredentialIndex, LastUse
from gateway.authn.proxies import is_trusted
from gateway.catching_up import catching_up
from gateway.config import Live
from gateway.config.values import host_port
from gateway.endpoints.administration import admin_api
from gateway.endpoints.application import Onion, application
from gateway.endpoints.discovery import Discovery
from gateway.endpoints.gate import Door, Gate
from gateway.endpoints.listener import Runner
from gateway.endpoints.ops import Ops
from gateway.endpoints.reload import Reload
from gateway.endpoints.replies import code_of
from gateway.endpoints.serving import listening
from gateway.endpoints.tenants import Tenants
from gateway.endpoints.tls import tls_context
from gateway.facts import Replica
from gateway.follow import Follower
from gateway.keys import sha256
from gateway.ledger.connect import open_ledger
from gateway.metrics import Metrics
from gateway.operation import Gateway
from gateway.pdp.client import OpaClient
from gateway.pdp.high_water import HighWaterMark
from gateway.pdp.provenance import Provenance
from gateway.registration import Registration, Uncounted
from gateway.replication import Replication
from gateway.rooms import Rooms
from gateway.sidecars import Sources, sidecars
from gateway.single_flight import SingleFlight
from gateway.wiring import mcp_endpoint, sealing, servers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.config import Config, Loaded
    from gateway.endpoints.administration import Endpoint
    from gateway.ledger import Ledger
    from gateway.sidecars import Home, Sidecars
    from gateway.state import StateDir
    from gateway.tracing import Tracing

FOLD_SECONDS = 5.0


@asynccontextmanager
async def running(loaded: Loaded, home: Home, *, with_sync: bool, listening: bool = True) -> AsyncIterator[Gateway]:
    """Run a gateway, with sync as a child if asked; it listens when this yields and is drained when it is left.

    Raises ConfigError for what the files or the machine do not allow, Unavailable without a ledger.
    """
    async with AsyncExitStack() as stack:
        tracing = observed.tracing(stack, loaded.config, code_of)
        gateway = await _assembled(stack, loaded, home, with_sync=with_sync)
        if listening:
            await _served(stack, gateway, tracing)
        background.run(stack, gateway.catch_up(), "catch up with the ledger")
        background.run(stack, gateway.follow_bundles(), "look at the bundles that OPA has")
        background.run(stack, gateway.follow_data(), "follow the data that OPA decides on")
        background.run(stack, gateway.count_gateways(), "count the gateways")
        observed.measured(stack, gateway)
        stack.push_async_callback(gateway.drain)
        yield gateway


async def _assembled(stack: AsyncExitStack, loaded: Loaded, home: Home, *, with_sync: bool) -> Gateway:
    config, state = loaded.config, home.state
    ledger = await _ledger(stack, home)
    mark = _mark(stack, state)
    index = CredentialIndex()
    registration = _registration(ledger, home)
    follower = await _follower(ledger, index, mark, registration)
    await _counted(stack, registration, ledger, loaded)
    children = await sidecars(stack, _sources(loaded, home, with_sync=with_sync), with_sync=with_sync)
    _follow(stack, follower, index, ledger)
    live: Live[Door]
    metrics = Metrics(lambda tenant: tenant in live.value.tenants)
    trail = await _trail(stack, ledger, config, metrics)
    streams, upstreams, inventory = servers(stack, loaded, ledger, follower)
    forward, sessions = sealing(children, upstreams)
    opa = await stack.enter_async_context(OpaClient(children.opa_url, deadline=config.opa.deadline_ms / 1000))
    rooms = Rooms(
        ledger=ledger,
        follower=follower,
        index=index,
        metrics=metrics,
        trail=trail,
        gate=_gate(stack, lambda: live.value, trail),
        opa=opa,
        mark=mark,
        provenance=_provenance(stack, opa, state, follower, children),
        upstreams=upstreams,
        forward=forward,
        streams=streams,
        sessions=sessions,
        inventory=inventory,
        replication=await _replication(stack, ledger, children, home.replica),
        allowance=allowance(stack, trail),
        catch_up=catching_up(stack, upstreams.knows),
        overlay=config_withdrawals,
        reach=reach,
        collisions=collisions,
    )
    live = _in_force(stack, rooms.door(loaded))
    return Gateway(loaded=loaded, ledger=ledger, live=live, rooms=rooms, sidecars=children, registration=registration)


async def _ledger(stack: AsyncExitStack, home: Home) -> Ledger:
    ledger = await open_ledger(home.ledger_url, home.replica)
    stack.push_async_callback(ledger.close)
    return ledger


def _mark(stack: AsyncExitStack, state: StateDir) -> HighWaterMark:
    mark = HighWaterMark(state.high_water)
    stack.push_async_callback(mark.close)
    return mark


async def _follower(
    ledger: Ledger, index: CredentialIndex, mark: HighWaterMark, registration: Registration | Uncounted
) -> Follower:
    follower = Follower(ledger, index, mark, registration.keep)
    await follower.refresh()
    return follower


def _registration(ledger: Ledger, home: Home) -> Registration | Uncounted:
    token = home.state.secret(home.state.replica_token(home.replica))
    if not home.counted:
        return Uncounted()
    return Registration(ledger, Replica(home.replica, sha256(token), now_ms()), now_ms)


async def _counted(
    stack: AsyncExitStack, registration: Registration | Uncounted, ledger: Ledger, loaded: Loaded
) -> None:
    """Count this replica, with its configuration; a clean end takes it out of the count, a crash leaves it in."""
    await ledger.note_config(loaded.hash)
    await registration.take()
    stack.push_async_callback(registration.give_up)


def _gate(stack: AsyncExitStack, door: Callable[[], Door], trail: AuditTrail) -> Gate:
    gate = Gate(door, trail)
    stack.callback(gate.refusals.record_folded, everything=True)
    background.every(stack, FOLD_SECONDS, gate.refusals.record_folded, "fold failed logins")
    return gate


def _in_force(stack: AsyncExitStack, door: Door) -> Live[Door]:
    live = Live(door)
    stack.push_async_callback(_close_authn, live)
    return live


def _follow(stack: AsyncExitStack, follower: Follower, index: CredentialIndex, ledger: Ledger) -> None:
    background.run(stack, follower.run(), "follow the ledger")
    last_use = LastUse(index, ledger.touch_credentials)
    stack.push_async_callback(last_use.write)
    background.run(stack, last_use.run(), "write the last use of credentials")


def _sources(loaded: Loaded, home: Home, *, with_sync: bool) -> Sources:
    if with_sync:
        ensure_key(loaded.config, home.state)
    return Sources(loaded, home, lambda: verification_keys(home.state.path))


def _provenance(
    stack: AsyncExitStack, opa: OpaClient, state: StateDir, follower: Follower, children: Sidecars
) -> Provenance:
    provenance = Provenance(opa, state.provenance, epoch=lambda: follower.epoch, life=children.opa_life)
    stack.push_async_callback(provenance.close)
    return provenance


async def _trail(stack: AsyncExitStack, ledger: Ledger, config: Config, metrics: Metrics) -> AuditTrail:
    file = AuditFile(config.audit.file) if config.audit.file else None
    trail = AuditTrail(ledger.append_audit, file=file, observe=metrics.observe)
    background.run(stack, trail.run(), "write the audit trail")
    stack.push_async_callback(trail.close)
    if config.audit.retention_days is not None:
        background.run(stack, prune_hourly(ledger.prune_audit, config.audit.retention_days), "prune the audit trail")
    return trail


async def _replication(stack: AsyncExitStack, ledger: Ledger, children: Sidecars, replica: str) -> Replication:
    session = aiohttp.ClientSession(trust_env=False, cookie_jar=aiohttp.DummyCookieJar())
    await stack.enter_async_context(session)

    async def counted() -> int:
        return len(await ledger.replicas())

    return Replication(session, children.sync_url, children.control_token, replica, counted)


async def _served(stack: AsyncExitStack, gateway: Gateway, tracing: Tracing | None) -> None:
    server = gateway.live.value.config.server
    metrics = gateway.rooms.metrics
    ops = Ops(gateway.rooms.gate, metrics, SingleFlight(gateway.waiting_for), lambda: gateway.drifted)
    gate = gateway.rooms.gate
    discovery, mcp = Discovery(lambda: gateway.live.value.config), mcp_endpoint(stack, gateway.rooms, tracing)
    endpoints: tuple[Endpoint, ...] = (discovery, mcp, ops, Tenants(gate, metrics), Reload(gate), *admin_api(gate))
    onion = Onion(lambda: gateway.live.value.config, metrics, gateway.rooms.gate.refusals.malformed)
    handler = application(onion, [route for endpoint in endpoints for route in endpoint.routes()])
    tls = tls_context(gateway.live.value.config)
    public = Runner(handler, is_proxy=lambda peer: is_trusted(peer, gateway.live.value.config.server.trusted_proxies))
    gateway.address, listener = await listening(stack, public, server.host, server.port, "server.port", tls)
    gateway.open_connections = lambda: listener.open
    if listen := gateway.live.value.config.metrics.listen:
        private = Runner(application(onion, ops.private_routes()))
        await listening(stack, private, *host_port(listen), "metrics.listen")


async def _close_authn(live: Live[Door]) -> None:
    await live.value.authn.close()
