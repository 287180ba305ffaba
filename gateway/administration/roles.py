"""Roles: which there are, who has which where; given and taken at runtime, beside what the configuration gives."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.administration.acting import READING
from gateway.administration.terms import require_none, tenant_of
from gateway.audit import now_ms
from gateway.errors import NotFound
from gateway.ledger.values import Binding
from gateway.model import Grant
from gateway.permissions import BUILT_IN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.administration.acting import Actor, Change
    from gateway.administration.terms import Terms
    from gateway.ledger import Ledger

WRITE = "roles:write"
READ = "roles:read"


@dataclass(frozen=True, slots=True)
class Assignment:
    """A role of a principal at a scope; `issuer` where equal names of several issuers are to be told apart."""

    principal: str
    role: str
    scope: str
    issuer: str | None = None

    def mistakes(self, terms: Terms) -> Iterator[tuple[str, str]]:
        """Yield what is wrong with it, by the names of the API; the same rules as in auth.role_assignments."""
        yield from terms.role_mistakes(self.role)
        if self.principal.startswith("service:"):
            if self.issuer is not None:
                yield "issuer", "a service has a key and no issuer; leave it out"
        elif self.issuer is None and len(terms.issuers) > 1:
            yield "issuer", "is missing: equal names from two issuers are different principals"
        elif self.issuer is not None and self.issuer not in terms.issuers:
            yield "issuer", "is not one of those that are trusted here"

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What orders assignments, and tells each from every other."""
        return (self.principal, self.role, self.scope, self.issuer or "")


@dataclass(frozen=True, slots=True)
class Assigned:
    """An assignment in force; `by` and `at` (milliseconds) of one that was made at runtime, None of the configured."""

    assignment: Assignment
    by: str | None = None
    at: int | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """That a role was taken away at runtime; `still_configured` where the configuration gives it all the same."""

    change: Change
    still_configured: bool


class Roles:
    """The role bindings of ledger and configuration."""

    def __init__(self, ledger: Ledger, terms: Terms) -> None:
        self._ledger = ledger
        self._terms = terms

    def there_are(self) -> Sequence[tuple[str, tuple[str, ...], bool]]:
        """Return every role with what it grants, and whether it comes with the product."""
        return [(name, grants, name in BUILT_IN) for name, grants in sorted(self._terms.roles.items())]

    async def assign(self, actor: Actor, wanted: Assignment) -> Change:
        """Give a role; again is not an error. Raises InvalidBody, NotPermitted, NotFound, Unavailable."""
        require_none(wanted.mistakes(self._terms))
        tenant = tenant_of(wanted.scope)
        with actor.begin("RoleAssigned", WRITE, **about(wanted)) as deed:
            await deed.require(WRITE, tenant, Grant(wanted.role, wanted.scope))
            self._terms.require_tenant(tenant)
            binding = Binding(wanted.principal, wanted.role, wanted.scope, wanted.issuer, actor.author, now_ms())
            revision = await deed.mutated(functools.partial(self._ledger.assign_role, binding))
        return await actor.enforced(revision)

    async def revoke(self, actor: Actor, wanted: Assignment) -> Taken:
        """Take a role away that was given at runtime. Raises NotFound where it was not, LastAdmin, NotPermitted."""
        with actor.begin("RoleRevoked", WRITE, **about(wanted)) as deed:
            await deed.require(WRITE, tenant_of(wanted.scope))
            revoking = functools.partial(
                self._ledger.revoke_role,
                *(wanted.principal, wanted.role, wanted.scope, wanted.issuer, actor.author, now_ms()),
                admins=self._terms.admins,
            )
            revision = await deed.mutated(revoking)
            if revision is None:
                where = " at runtime; the configuration gives it" if self._configured(wanted) else ""
                raise NotFound(f"{wanted.principal} was not given {wanted.role} at {wanted.scope}{where}")
        return Taken(await actor.enforced(revision), self._configured(wanted))

    async def page(
        self, actor: Actor, tenant: str | None, *, principal: str | None, after: Sequence[str] | None, limit: int
    ) -> Sequence[Assigned]:
        """Return assignments at a tenant, or with None at every scope, in the order of `Assignment.key`."""
        with actor.begin(READING, READ, tenant=tenant) as deed:
            await deed.require(READ, tenant)
            given = [
                Assigned(Assignment(one.principal, one.role, one.scope, one.issuer), one.by, one.at)
                for one in await self._ledger.bindings()
                if one.revoked_at is None
            ]
            every = sorted((*given, *self._static()), key=_order)
            wanted = [one for one in every if _is_wanted(one.assignment, tenant, principal)]
            return [one for one in wanted if after is None or _order(one) > tuple(after)][:limit]

    def _static(self) -> Iterator[Assigned]:
        for one in self._terms.assigned:
            yield Assigned(Assignment(one.principal, one.role, one.scope, one.issuer))

    def _configured(self, wanted: Assignment) -> bool:
        return any(one.assignment == wanted for one in self._static())


def cursor_of(one: Assigned) -> tuple[str, ...]:
    """Return after what the page goes on that follows the one which ends with this assignment."""
    return _order(one)


def about(one: Assignment) -> dict[str, Any]:
    """Return what an event says of an assignment."""
    return {
        "kind": "role",
        "name": one.role,
        "principal": one.principal,
        "scope": one.scope,
        "issuer": one.issuer,
        "tenant": tenant_of(one.scope),
    }


def _order(one: Assigned) -> tuple[str, ...]:
    # The same may be given by the configuration and at runtime; the configured one comes first.
    return (*one.assignment.key, "" if one.at is None else "runtime")


def _is_wanted(one: Assignment, tenant: str | None, principal: str | None) -> bool:
    return principal in (None, one.principal) and (tenant is None or tenant_of(one.scope) == tenant)
