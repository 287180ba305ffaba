"""What admins do at runtime, a noun a file: keys, tokens, roles, who may what, the trail of what was done.

Each action walks one way, whoever takes it: policy is asked, the ledger is changed together with the event that tells
of it, and what comes back says who enforces it. An `Actor` is who takes it: somebody at the admin API, whom policy is
asked about, or the operator of the machine, who has the ledger in hand anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.administration.api_keys import ApiKeys
from gateway.administration.events import Events
from gateway.administration.identity import Identity
from gateway.administration.roles import Roles
from gateway.administration.tenant_tokens import TenantTokens

if TYPE_CHECKING:
    from gateway.administration.terms import Terms
    from gateway.ledger import Ledger
    from gateway.pdp.pdp import Pdp


@dataclass(frozen=True, slots=True)
class Administration:
    """All that admins do, under one configuration."""

    terms: Terms
    keys: ApiKeys
    tokens: TenantTokens
    roles: Roles
    identity: Identity
    events: Events

    @classmethod
    def under(cls, terms: Terms, ledger: Ledger, pdp: Pdp | None) -> Administration:
        """Return the administration under a configuration's terms; without `pdp` it answers no questions on rights."""
        return cls(
            terms=terms,
            keys=ApiKeys(ledger, terms),
            tokens=TenantTokens(ledger, terms),
            roles=Roles(ledger, terms),
            identity=Identity(pdp, terms.issuers),
            events=Events(ledger),
        )
