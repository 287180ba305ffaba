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
from gateway.endpoints.gate import Door
from gateway.lifecycle import Lifecycle
from gateway.pdp.pdp import Pdp
from gateway.pep import Pep
from gateway.targets import targets
from gateway.upstream.target import StdioTarget, Target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.audit import AuditTrail
    from gateway.authn import CredentialIndex
    from gateway.config import Config
    from gateway.endpoints.gate import Gate
    from gateway.follow import Follower
    from gateway.inventory import Inventory
    from gateway.ledger import Ledger
    from gateway.metrics import Metrics
    from gateway.pdp.client import OpaClient
    from gateway.pdp.high_water import HighWaterMark
    from gateway.pdp.provenance import Provenance
    from gateway.replication import Replication
    from gateway.targets import Overlay
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
    inventory: Inventory
    replication: Replication
    overlay: Overlay

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

    def door(self, config: Config, before: Authn | None = None) -> Door:
        """Return what this configuration gives to the endpoints; keys of an unchanged issuer are kept."""
        pdp = self.pdp(config)
        lifecycle = Lifecycle(
            pdp=pdp,
            ledger=self.ledger,
            trail=self.trail,
            replication=self.replication,
            targets=targets(config, self.inventory, self.overlay),
        )
        pep = Pep(
            pdp=pdp,
            inventory=self.inventory,
            upstreams=self.upstreams,
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
            lifecycle=lifecycle,
            administration=Administration.under(Terms.of(config), self.ledger, pdp),
            office=Office(pdp, self.trail, self.replication, self.follower.refresh),
        )

    def use(self, config: Config) -> None:
        """Serve the servers of this configuration from now on."""
        self.upstreams.slots.resize(config.stdio.max_processes, config.stdio.max_processes_per_tenant)
        self.upstreams.replace(upstream_targets(config))
        self.inventory.replace(config.mcp_servers, config.tool_access.mode)


def upstream_targets(config: Config) -> Mapping[str, AnyTarget]:
    """Return where each configured server is, or how it is started."""
    return {
        id_: StdioTarget.of(id_, server, config.stdio) if server.mode == "stdio" else Target.of(id_, server)
        for id_, server in config.mcp_servers.items()
    }
