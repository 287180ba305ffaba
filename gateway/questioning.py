"""What policy is asked on behalf of a caller, and what of an answer ends everything: the words of the corridor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.errors import InvalidCredential
from gateway.model import Question
from gateway.pdp.question import MAX_URI, READS

if TYPE_CHECKING:
    from gateway.inventory import Inventory
    from gateway.mcp.named import Asked
    from gateway.model import Principal, Verdict
    from gateway.recording import Caller


def question_of(action: str, caller: Caller, **asked: Any) -> Question:
    """Return the question whether a caller may do something."""
    return Question(
        action=action,
        principal=caller.principal,
        request=caller.request,
        view=caller.view,
        server=caller.server,
        client=caller.client,
        **asked,
    )


def about(asked: Asked, caller: Caller, inventory: Inventory, notes: dict[str, Any]) -> Question:
    """Return the question whether a caller may ask this of a named thing; `notes` get what the event keeps of it.

    A URI is judged by every template that it may be read through (docs/policy.md).
    """
    more: dict[str, Any] = {}
    if asked.kind is not None:
        more["kind"] = notes["kind"] = asked.kind
    elif asked.method in READS and (templates := matching(asked.name, caller, inventory)):
        more["templates"] = notes["templates"] = templates
    return question_of(asked.method, caller, name=asked.name, arguments=asked.arguments, **more)


def matching(uri: str, caller: Caller, inventory: Inventory) -> tuple[str, ...]:
    """Return the templates that a caller's URI may be read through; none for one that policy cannot be asked about."""
    if len(uri) > MAX_URI:
        return ()
    return inventory.summary.matching(uri, caller.server, caller.principal.for_tenant)


def require_credential(verdict: Verdict, principal: Principal) -> None:
    """Raise InvalidCredential where policy knows of a revocation that authentication has not learnt yet.

    It names the kind of credential as authentication does, so that the caller cannot tell which of the two refused.
    """
    if verdict.reasons and any(reason.code == "credential_revoked" for reason in verdict.reasons):
        raise InvalidCredential("revoked", principal.kind)
