"""Who one is here, and what somebody may do: asked of the one evaluator that decides it anyway."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.administration.acting import READING
from gateway.errors import DecisionUnavailable
from gateway.model import CallDecision, CredentialKind, CredentialRef, ListDecision, Principal, Question
from gateway.pdp.question import KINDS, LISTS
from gateway.permissions import Permission

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.administration.acting import Actor
    from gateway.model import Grant, RequestInfo, Verdict
    from gateway.pdp.pdp import Pdp

READ = "roles:read"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about somebody: would this be admitted? `tenant` is the principal's, `target_tenant` the target's."""

    principal: str
    action: str
    tenant: str | None = None
    groups: tuple[str, ...] = ()
    issuer: str | None = None
    role: str | None = None
    name: str | None = None
    server: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    templates: tuple[str, ...] = ()
    target_tenant: str | None = None
    grants: Grant | None = None

    def question(self, request: RequestInfo, issuers: Sequence[str]) -> Question:
        """Return it as the gateway would ask policy; where no issuer is named, a `user:` is the only one's."""
        person = self.principal.startswith("user:") and self.role is None
        sole = issuers[0] if len(issuers) == 1 else None
        who = Principal(
            subject=self.principal,
            kind=CredentialKind.JWT if person else CredentialKind.API_KEY,
            tenant=self.tenant,
            issuer=(self.issuer or sole) if person else None,
            groups=self.groups,
            credential=CredentialRef("check", role=self.role),
        )
        offered = self.action in KINDS
        return Question(
            action=self.action,
            principal=who,
            request=request,
            name=self.name,
            server=None if offered else self.server,
            templates=self.templates,
            tenant=None if offered else self.target_tenant,
            grants=None if offered else self.grants,
            arguments=self.arguments if offered and self.action not in LISTS else None,
        )


class Identity:
    """Answers on rights; without a decision point there are none."""

    def __init__(self, pdp: Pdp | None, issuers: Sequence[str]) -> None:
        self._asked = pdp
        self._issuers = issuers

    async def whoami(self, actor: Actor, request: RequestInfo) -> dict[str, Any]:
        """Return who the actor is, and what it may do at home; that needs no right."""
        who = actor.principal
        with actor.begin(READING, "whoami") as deed:
            # The first is asked as every deed is: a credential that is revoked elsewhere is refused here, too.
            await deed.may(READ, actor.home)
            questions = [Question(one.value, who, request, tenant=actor.home) for one in Permission]
            decisions = await asyncio.gather(*map(self._pdp.admin, questions))
        held = zip(Permission, decisions, strict=True)
        return {
            "principal": who.subject,
            "kind": who.kind,
            "issuer": who.issuer,
            "tenant_id": who.tenant,
            "acting_for": who.acting_for,
            "groups": who.groups,
            "credential": asdict(who.credential) if who.credential else None,
            "roles": sorted({role for decision in decisions for role in decision.roles}),
            "permissions": [one.value for one, decision in held if decision.allow],
        }

    async def check(self, actor: Actor, request: RequestInfo, asked: Asked) -> Verdict:
        """Return what policy would say, without a trace of it but that it was asked here."""
        target = {"principal": asked.principal, "name": asked.action, "tenant": asked.tenant}
        with actor.begin(READING, READ, **target) as deed:
            await deed.require(READ, asked.tenant)
            if asked.action not in KINDS and asked.target_tenant != asked.tenant:
                await deed.require(READ, asked.target_tenant)
            return await self._decided(asked.question(request, self._issuers))

    @property
    def _pdp(self) -> Pdp:
        if self._asked is None:
            raise DecisionUnavailable("nobody is asked for decisions here")
        return self._asked

    async def _decided(self, question: Question) -> Verdict:
        if question.action in LISTS:
            return await self._pdp.list(question)
        return await (self._pdp.call(question) if question.action in KINDS else self._pdp.admin(question))


def findings(verdict: Verdict) -> dict[str, Any]:
    """Return what a check found: the answer, the layer that says no, and all that was said."""
    found: dict[str, Any] = {
        "allow": verdict.allow,
        "layer": verdict.reasons[0].layer if verdict.reasons else None,
        "reasons": [{"code": one.code, "layer": one.layer, **one.detail} for one in verdict.reasons],
        "revision": verdict.revision,
    }
    match verdict:
        case CallDecision():
            found |= {"visible": verdict.visible, "id": str(verdict.ref) if verdict.ref else None}
        case ListDecision():
            found |= {"ids": list(verdict.ids)}
    return found
