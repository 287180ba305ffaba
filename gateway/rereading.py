"""Having the files read again because an administrator asks for it: decide, read, and say what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import NotPermitted
from gateway.questioning import require_credential
from gateway.recording import Recording
from gateway.tenancy import question

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.audit import AuditTrail
    from gateway.catching_up import Reread
    from gateway.pdp.pdp import Pdp
    from gateway.recording import Caller

RELOAD = "config:reload"


class Rereading:
    """The admin action; `reread` reads the files again now and puts in force what they say."""

    def __init__(self, *, pdp: Pdp, trail: AuditTrail, reread: Callable[[], Awaitable[Reread]]) -> None:
        self._pdp = pdp
        self._trail = trail
        self._reread = reread

    async def reload(self, caller: Caller) -> Reread:
        """Have the files read again, for whoever may do that everywhere; raises NotPermitted, DecisionUnavailable."""
        with Recording(self._trail, caller, RELOAD, "AuthorizationGranted") as recording:
            decision = await recording.decided(self._pdp.admin(question(caller, RELOAD, None)))
            require_credential(decision, caller.principal)
            if not decision.allow:
                raise NotPermitted(decision.reasons)
            done = await self._reread()
            recording.target.update(config=done.outcome.hash, mistakes=len(done.outcome.mistakes))
            return done
