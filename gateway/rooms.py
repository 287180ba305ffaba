"""The rooms that outlive a reload, and the door that is made of them for each configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.administration import Administration
from gateway.administration.acting import Office
from gateway.administration.terms import Terms
from gateway.authn import Authn
from gateway.authn.tenant_keys import tenant_keys
from gateway.config import known_tenants
from gateway.config.membership import own_key, own_servers
from gateway.directory import directory
from gateway.endpoints.gate import Door
from gateway.hearing import Hearing
from gateway.lifecycle import Lifecycle
from gateway.pdp.pdp import Pdp
from gateway.pep import Pep
from gateway.rereading import Rereading
from gateway.targets import targets
from gateway.tenancy import Tenancy
from gateway.upstream.target import StdioTarget, Target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.addresses import Addresses
    from gateway.allowance import Allowance
    from gateway.audit import AuditTrail
    from gateway.authn import CredentialIndex
    from gateway.catching_up import CatchUp
    from gateway.config import Config, Loaded
    from gateway.config.servers import Backend
    from gateway.directory import Collisions
    from gateway.endpoints.gate import Gate
    from gateway.follow import Follower
    from gateway.forward import Forward
    from gateway.inventory import Inventory
    from gateway.ledger import Ledger
    from gateway.metrics import Metrics
    from gateway.pdp.client import OpaClient
    from gateway.pdp.high_water import HighWaterMark
    from gateway.pdp.provenance import Provenance
    from gateway.replication import Replication
    from gateway.sessions import Sessions
    from gateway.streams import Streams
    from gateway.targets import Overlay, Reach
    from gateway.tenancy import Directory
    from gateway.upstream.pool import Upstreams
    from gateway.upstream.target import AnyTarget


@dataclass(frozen=True, slots=True)
class Rooms:
    """Everything that a configuration is put into force with."""

    ledger: Ledger
    follower: Follower
    index: CredentialIndex
    metrics: Metrics
    trail: AuditTrail
    gate: Gate
    opa: OpaClient
    mark: HighWaterMark
    provenance: Provenance
    upstreams: Upstreams
    forward: Forward
    streams: Streams
    sessions: Sessions
    inventory: Inventory
    replication: Replication
    allowance: Allowance
    catch_up: CatchUp
    overlay: Overlay
    reach: Reach
    collisions: Collisions

    def pdp(self, config: Config) -> Pdp:
        """Return the decision point as this configuration asks it."""
        return Pdp(
            self.opa,
            epoch=lambda: self.follower.epoch,
            mark=self.mark,
            distrust=self.provenance.distrust,
            mode=config.tool_access.mode,
            custom_policy=lambda: config.opa.custom_policies is not None,
            max_arguments_bytes=config.opa.max_arguments_bytes,
            policy_path=config.auth.opa.policy_path,
        )

    def door(self, loaded: Loaded, before: Authn | None = None) -> Door:
        """Return what this configuration gives to the endpoints; keys of an unchanged issuer are kept."""
        config = loaded.config
        pdp = self.pdp(config)
        lifecycle = Lifecycle(
            pdp=pdp,
            ledger=self.ledger,
            trail=self.trail,
            replication=self.replication,
            targets=targets(config, self.inventory, self.overlay, self.reach),
        )
        allowance = self.allowance.under(loaded.name)
        pep = Pep(
            pdp=pdp,
            allowance=allowance,
            catch_up=self.catch_up,
            inventory=self.inventory,
            forward=self.forward,
            trail=self.trail,
            audit_arguments=config.audit.include_arguments,
        )
        keys = tenant_keys(config.tenants)
        authn = before.renewed(config.auth, keys) if before else Authn(config.auth, self.index, keys)
        return Door(
            config=config,
            tenants=known_tenants(config),
            authn=authn,
            pep=pep,
            hearing=Hearing(pdp=pdp, allowance=allowance, inventory=self.inventory, trail=self.trail),
            lifecycle=lifecycle,
            administration=Administration.under(Terms.of(config), self.ledger, pdp),
            office=Office(pdp, self.trail, self.replication, self.follower.refresh),
            tenancy=Tenancy(pdp=pdp, trail=self.trail, directory=self._directory(config)),
            rereading=Rereading(pdp=pdp, trail=self.trail, reread=self.catch_up.now),
        )

    def route(self, loaded: Loaded) -> None:
        """Have calls that are decided by this configuration go where it says, from now on."""
        self.upstreams.replace(upstream_targets(loaded.config), loaded.name)

    def use(self, config: Config) -> None:
        """Offer what the servers of this configuration offer, from now on."""
        self.upstreams.slots.resize(config.stdio.max_processes, config.stdio.max_processes_per_tenant)
        self.inventory.replace(server_keys(config), config.tool_access.mode)
        self.allowance.quotas.retain(known_tenants(config).__contains__)

    def _directory(self, config: Config) -> Directory:
        return directory(config, self.inventory, self.ledger.inventory, self.collisions)


def upstream_targets(config: Config) -> Mapping[str, AnyTarget]:
    """Return where each server is, or how it is started; a tenant's own under its key."""

    def target(key: str, server: Backend, addresses: Addresses) -> AnyTarget:
        if server.mode == "stdio":
            return StdioTarget.of(key, server, config.stdio)
        return Target.of(key, server, addresses)

    shared = {id_: target(id_, server, server.addresses) for id_, server in config.mcp_servers.items()}
    own = {
        (key := own_key(tenant.id, id_)): target(key, server, tenant.addresses)
        for tenant, id_, server in own_servers(config)
    }
    return shared | own


def server_keys(config: Config) -> list[str]:
    """Return the keys of all servers, the tenants' own among them."""
    return [*config.mcp_servers, *(own_key(tenant.id, id_) for tenant, id_, _ in own_servers(config))]
