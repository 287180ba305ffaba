"""API keys: made for a principal, shown once, rotated with an overlap, revoked; never more than their maker holds."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway import keys
from gateway.administration.acting import READING
from gateway.administration.terms import USUAL, Lifetime, require_none, scope_of, tenant_of
from gateway.audit import now_ms
from gateway.errors import NotFound
from gateway.model import Credential, CredentialKind, Grant

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from gateway.administration.acting import Actor, Change, Deed
    from gateway.administration.terms import Terms
    from gateway.ledger import Ledger
    from gateway.ledger.values import Binding

WRITE = "keys:write"
READ = "keys:read"
EVERYTHING = "*"
SERVICE = "service:"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that is asked for; `tenant` None is one of no tenant, `role` None one without a role of its own."""

    principal: str
    name: str
    role: str | None = None
    tenant: str | None = None
    lifetime: Lifetime = USUAL

    def mistakes(self, terms: Terms, now: int) -> Iterator[tuple[str, str]]:
        """Yield what is wrong with it, by the names of the API."""
        yield from terms.role_mistakes(self.role)
        yield from terms.expiry_mistakes(self.lifetime, now)


@dataclass(frozen=True, slots=True)
class Minted:
    """A credential that was just made, with its secret, which is nowhere else; `change` is that it was made."""

    secret: str
    credential: Credential
    change: Change


class ApiKeys:
    """The keys of the ledger."""

    def __init__(self, ledger: Ledger, terms: Terms) -> None:
        self._ledger = ledger
        self._terms = terms

    async def create(self, actor: Actor, wanted: NewKey) -> Minted:
        """Make a key. Raises InvalidBody, NotPermitted, NotFound for an unknown tenant, Unavailable."""
        now = now_ms()
        require_none(wanted.mistakes(self._terms, now))
        secret = keys.mint()
        credential = Credential(
            id=keys.new_id(),
            hash=keys.sha256(secret),
            prefix=keys.shown(secret),
            principal=wanted.principal,
            name=wanted.name,
            role=wanted.role,
            tenant=wanted.tenant,
            created_at=now,
            created_by=actor.author,
            expires_at=wanted.lifetime.end(now),
        )
        with actor.begin("KeyCreated", WRITE, **about(credential)) as deed:
            await self._require_rights(deed, credential)
            self._terms.require_tenant(credential.tenant)
            revision = await deed.mutated(functools.partial(self._ledger.add_credential, credential))
        return Minted(secret, credential, await actor.enforced(revision))

    async def page(
        self, actor: Actor, tenant: str | None, *, after: str | None = None, limit: int = 100
    ) -> Sequence[Credential]:
        """Return keys of a tenant, or with None of all and none, oldest first, revoked and expired ones included."""
        with actor.begin(READING, READ, tenant=tenant) as deed:
            await deed.require(READ, tenant)
            return await self._ledger.credentials_page(
                kind=CredentialKind.API_KEY, tenant=tenant, after=after, limit=limit
            )

    async def revoke(self, actor: Actor, id_: str) -> Change:
        """Revoke a live key. Raises NotFound where there is none, LastAdmin, NotPermitted, Unavailable."""
        with actor.begin("KeyRevoked", WRITE, kind="key", id=id_) as deed:
            credential = await self._found(actor, deed, id_)
            deed.target.update(about(credential))
            revision = await revoke(self._ledger, self._terms, actor, deed)
        return await actor.enforced(revision)

    async def rotate(self, actor: Actor, id_: str, overlap_seconds: int) -> Minted:
        """Make the successor of a live key, which ends after the overlap; it lives as long as the old one was to.

        Whoever rotates a key has its rights in hand, so that needs what making it would need. Raises as `revoke` does.
        """
        with actor.begin("KeyRotated", WRITE, kind="key", id=id_) as deed:
            old = await self._found(actor, deed, id_)
            deed.target.update(about(old))
            await self._require_rights(deed, old)
            secret, now = keys.mint(), now_ms()
            new = replace(_successor(old, secret, now), created_by=actor.author, expires_at=self._as_long(old, now))
            deed.target.update(replaced_by=new.id)
            rotating = functools.partial(self._ledger.rotate_credential, id_, new, now + overlap_seconds * 1000)
            revision = await deed.mutated(rotating)
            if revision is None:
                raise NotFound(f"no live key {id_}: it is revoked, expired or rotated already")
        return Minted(secret, new, await actor.enforced(revision))

    def _as_long(self, old: Credential, now: int) -> int | None:
        """Return the end of a key that is to live as long as another; one that never ended ends where none may not."""
        if old.expires_at is not None:
            return now + old.expires_at - old.created_at
        return None if self._terms.allow_non_expiring else USUAL.end(now)

    async def _found(self, actor: Actor, deed: Deed, id_: str) -> Credential:
        """Return the key of this id; one that is another tenant's is answered like one that is not there (A11)."""
        found = await self._ledger.credential(id_)
        if found is not None and found.kind is CredentialKind.API_KEY and await deed.may(WRITE, found.tenant):
            return found
        await deed.require(WRITE, actor.home)
        raise NotFound(f"no key {id_}; see `portcullis key list`")

    async def _require_rights(self, deed: Deed, key: Credential) -> None:
        """Raise NotPermitted unless the actor holds all that the key would bring along."""
        scope = scope_of(key.tenant)
        await deed.require(WRITE, key.tenant, Grant(key.role, scope) if key.role else None)
        if not key.principal.startswith(SERVICE):
            # A key of a person is that person at every scope, and in whatever it is given later.
            await deed.require(EVERYTHING, None)
            return
        for grant in brought_along(key, self._terms, await self._ledger.bindings()):
            await deed.require(WRITE, tenant_of(grant.scope), grant)


async def revoke(ledger: Ledger, terms: Terms, actor: Actor, deed: Deed) -> int:
    """Revoke the key or token that a deed is about and return the revision.

    Raises NotFound where it lives no more, LastAdmin, Unavailable.
    """
    id_, now = deed.target["id"], now_ms()
    revision = await deed.mutated(
        functools.partial(ledger.revoke_credential, id_, actor.author, now, admins=terms.admins)
    )
    if revision is None:
        raise NotFound(f"no live {deed.target['kind']} {id_}: it is revoked or expired already")
    return revision


def about(key: Credential) -> dict[str, Any]:
    """Return what an event says of a key."""
    return {"kind": "key", "id": key.id, "principal": key.principal, "role": key.role, "tenant": key.tenant}


def brought_along(key: Credential, terms: Terms, bindings: Sequence[Binding]) -> Iterator[Grant]:
    """Yield what a key has besides its own role: what is bound to its principal, or the default role.

    A key of a tenant has of its principal's roles those at that tenant only; one of no tenant has all of them.
    """
    scope = scope_of(key.tenant)
    held = {(one.role, one.scope) for one in terms.assigned if _counts(one.principal, one.issuer, key)}
    mine = [one for one in bindings if _counts(one.principal, one.issuer, key)]
    held |= {(one.role, one.scope) for one in mine if one.revoked_at is None}
    for role, where in sorted(held):
        if key.tenant is None or where == scope:
            yield Grant(role, where)
    falls_back = not key.role and not held and not mine
    if falls_back and terms.default_role and (key.tenant is not None or terms.default_everywhere):
        yield Grant(terms.default_role, scope)


def _counts(principal: str, issuer: str | None, key: Credential) -> bool:
    # A key is no issuer's, so what is bound to an issuer's principal of the same name is not bound to it.
    return principal == key.principal and issuer is None


def _successor(old: Credential, secret: str, now: int) -> Credential:
    hashed, shown = keys.sha256(secret), keys.shown(secret)
    return replace(old, id=keys.new_id(), hash=hashed, prefix=shown, created_at=now, last_used_at=None)
