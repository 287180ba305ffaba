"""Who administers: what is asked before a deed, what is told of it, and who must know before it is answered."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from gateway.errors import NotPermitted, Unavailable
from gateway.model import CredentialKind, Question
from gateway.questioning import require_credential
from gateway.recording import Recording

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from contextlib import AbstractContextManager

    from gateway.audit import AuditTrail
    from gateway.model import AdminDecision, AuditEvent, Grant, Principal
    from gateway.pdp.pdp import Pdp
    from gateway.recording import Caller
    from gateway.replication import Applied, Replication

    T = TypeVar("T")

LOG = logging.getLogger("portcullis.administration")
READING = "AuthorizationGranted"


@dataclass(frozen=True, slots=True)
class Change:
    """A mutation that is in the ledger: at which revision, and which replicas enforce it; None where none was asked."""

    revision: int
    applied: Applied | None


class Deed(Protocol):
    """One admin action under way. `target` is what its event says that it is about, and may be added to."""

    target: dict[str, Any]

    async def may(self, action: str, tenant: str | None, grants: Grant | None = None) -> bool:
        """Say whether the actor may do this in a tenant, or with None everywhere, and hand out what `grants` says."""

    async def require(self, action: str, tenant: str | None, grants: Grant | None = None) -> None:
        """Raise NotPermitted unless the actor may."""

    async def mutated(self, mutation: Callable[[AuditEvent], Awaitable[T]]) -> T:
        """Await a mutation of the ledger that writes the event in its own transaction."""


class Actor(Protocol):
    """Who administers."""

    @property
    def author(self) -> str:
        """Who, as the ledger keeps it of what was made; no two principals have the same."""

    @property
    def principal(self) -> Principal:
        """Whom policy is asked about."""

    @property
    def home(self) -> str | None:
        """The tenant that the actor is of, or acts for."""

    @property
    def person(self) -> bool:
        """Whether this is a person of a tenant, who may have tokens of its own there."""

    def begin(self, type_: str, action: str, **target: Any) -> AbstractContextManager[Deed]:
        """Begin a deed; whatever comes of it, one event of this type tells."""

    async def enforced(self, revision: int) -> Change:
        """Wait, not for long, until every replica enforces a revision, and say which do."""


@dataclass(frozen=True, slots=True)
class Office:
    """What the admin API works with. `refresh` puts in force here what the ledger says by now."""

    pdp: Pdp
    trail: AuditTrail
    replication: Replication
    refresh: Callable[[], Awaitable[None]]

    def admits(self, caller: Caller) -> Actor:
        """Return a caller of the admin API as somebody who administers, as far as policy lets it."""
        return _Caller(self, caller)


class _Asked:
    """A deed that policy is asked about."""

    def __init__(self, office: Office, caller: Caller, recording: Recording) -> None:
        self._office = office
        self._caller = caller
        self._recording = recording
        self.target = recording.target

    async def may(self, action: str, tenant: str | None, grants: Grant | None = None) -> bool:
        return (await self._ask(action, tenant, grants)).allow

    async def require(self, action: str, tenant: str | None, grants: Grant | None = None) -> None:
        decision = await self._ask(action, tenant, grants)
        if not decision.allow:
            raise NotPermitted(decision.reasons)

    async def _ask(self, action: str, tenant: str | None, grants: Grant | None) -> AdminDecision:
        who = self._caller
        question = Question(action, who.principal, who.request, tenant=tenant, grants=grants)
        decision = await self._recording.decided(self._office.pdp.admin(question))
        require_credential(decision, who.principal)
        return decision

    async def mutated(self, mutation: Callable[[AuditEvent], Awaitable[T]]) -> T:
        return await self._recording.mutated(mutation)


class _Caller:
    """Somebody at the admin API."""

    def __init__(self, office: Office, caller: Caller) -> None:
        self._office = office
        self._caller = caller

    @property
    def author(self) -> str:
        who = self._caller.principal
        # An issuer's name holds no blank, so nobody's subject can pass for somebody else's.
        return who.subject if who.issuer is None else f"{who.issuer} {who.subject}"

    @property
    def principal(self) -> Principal:
        return self._caller.principal

    @property
    def home(self) -> str | None:
        return self._caller.principal.for_tenant

    @property
    def person(self) -> bool:
        who = self._caller.principal
        return who.kind is CredentialKind.JWT and who.tenant is not None

    @contextmanager
    def begin(self, type_: str, action: str, **target: Any) -> Iterator[Deed]:
        with Recording(self._office.trail, self._caller, action, type_, **target) as recording:
            yield _Asked(self._office, self._caller, recording)

    async def enforced(self, revision: int) -> Change:
        try:
            await self._office.refresh()
        except Unavailable as error:
            # What is done stays done: policy knows of it by its own way, and this process as soon as it can read.
            LOG.warning("what was changed as r%d could not be read back: %s", revision, error)
        return Change(revision, await self._office.replication.applied(revision))


def author_of(text: str) -> tuple[str, str | None]:
    """Return the subject and the issuer of an `author`."""
    if text.startswith(("http://", "https://")):
        issuer, _, subject = text.partition(" ")
        return subject, issuer
    return text, None
