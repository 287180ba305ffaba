"""What the corridor asks of a tenant's quotas: who is turned away unasked, what is counted once policy has spoken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.quotas import Quotas
from gateway.turned_away import turning_away

if TYPE_CHECKING:
    from contextlib import AbstractContextManager, AsyncExitStack

    from gateway.audit import AuditTrail
    from gateway.model import Verdict
    from gateway.recording import Caller
    from gateway.turned_away import TurnedAway


class Allowance:
    """The quotas as one configuration enforces them; `config` is how decisions name it."""

    def __init__(self, quotas: Quotas, turned_away: TurnedAway, config: str = "") -> None:
        self.quotas = quotas
        self._turned_away = turned_away
        self._config = config

    def under(self, config: str) -> Allowance:
        """Return the same quotas as another configuration enforces them."""
        return Allowance(self.quotas, self._turned_away, config)

    async def require(self, caller: Caller, action: str) -> None:
        """Raise OverLimit where the tenant is known to be over a limit, so that policy need not be asked."""
        error = self.quotas.over(caller.principal, self._config)
        if error is not None:
            await self._turned_away.refuse(caller, action, error)
            raise error

    def slot(self, caller: Caller, verdict: Verdict) -> AbstractContextManager[None]:
        """Count a request that was decided and return what to do it in; raises OverLimit."""
        return self.quotas.slot(caller.principal, verdict)


def allowance(stack: AsyncExitStack, trail: AuditTrail) -> Allowance:
    """Return quotas of which nothing is used; refusals are recorded until the stack unwinds."""
    return Allowance(Quotas(), turning_away(stack, trail))
