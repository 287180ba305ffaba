"""The question that an event of the audit trail records, so that it can be asked again (`portcullis policy replay`).

What an event does not keep is not in it: when the credential ends, what the agent said of itself, and a call's
arguments unless `audit.include_arguments` is set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.ids import Kind
from gateway.model import CredentialKind, CredentialRef, Principal, Question, RequestInfo, View

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.model import AuditEvent

COMPLETION = "completion/complete"
# What is asked with arguments, which the trail has where the operator wants it to.
WITH_ARGUMENTS = frozenset({"tools/call", "prompts/get", COMPLETION})


@dataclass(frozen=True, slots=True)
class Recalled:
    """A question, and whether all of it was kept: a call without its arguments is not `whole`."""

    question: Question
    whole: bool


def recalled(event: AuditEvent) -> Recalled | None:
    """Return the question that was decided, None where the event is of no decision."""
    target, actor = event.target, event.actor
    action = target.get("action")
    if not event.policy or not isinstance(action, str) or actor.get("kind") not in [*CredentialKind]:
        return None
    server_view = target.get("view") == View.SERVER
    question = Question(
        action=action,
        principal=_principal(event),
        request=RequestInfo(
            str(event.source.get("request_id", "")), str(event.source.get("ip", "")), event.time // 1000
        ),
        view=View.SERVER if server_view else View.FLAT,
        server=target.get("at") if server_view else _if_admin(action, target, "server"),
        kind=Kind(target["kind"]) if action == COMPLETION else None,
        name=target.get("name"),
        templates=tuple(target.get("templates", ())),
        tenant=_if_admin(action, target, "tenant"),
        arguments=target.get("arguments"),
    )
    return Recalled(question, whole=action not in WITH_ARGUMENTS or "arguments" in target)


def is_administrative(action: str) -> bool:
    """Say whether an action is a permission of the admin API and not a method of MCP."""
    return ":" in action


def _if_admin(action: str, target: Mapping[str, Any], name: str) -> Any:
    # Of a call the event's `server` is the one that policy named, which the question did not know.
    return target.get(name) if is_administrative(action) else None


def _principal(event: AuditEvent) -> Principal:
    actor = event.actor
    id_, acting_for = actor.get("credential_id"), actor.get("acting_for")
    credential = CredentialRef(id_, role=actor.get("role"), scope=actor.get("scope")) if id_ else None
    return Principal(
        subject=str(actor.get("principal")),
        kind=CredentialKind(actor["kind"]),
        # Whoever selects a tenant has none, though the event counts as that tenant's once policy has admitted it.
        tenant=event.tenant if acting_for is None else None,
        issuer=actor.get("issuer"),
        groups=tuple(actor.get("groups", ())),
        scopes=tuple(actor.get("scopes", ())),
        credential=credential,
        acting_for=acting_for,
    )
