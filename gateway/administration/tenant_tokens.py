"""Tenant tokens: a person's own, or all of a tenant; with rights that are frozen when they are minted, and never more.

A token belongs to the tenant that its minter is of, or acts for. It may invoke if the minter might, and else only see.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway import keys
from gateway.administration.acting import READING
from gateway.administration.api_keys import Minted, revoke
from gateway.administration.terms import USUAL, Lifetime, require_none, scope_of
from gateway.audit import now_ms
from gateway.errors import InvalidBody, NotFound
from gateway.model import Credential, CredentialKind, Grant

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.administration.acting import Actor, Change, Deed
    from gateway.administration.terms import Terms
    from gateway.ledger import Ledger

ALL = "tokens:write"
OWN = "tokens:own"
# The most that a token may have, first: whoever may not hand that out may still hand out the next.
FROZEN = ("developer", "viewer")


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that is asked for; `tools` are globs over canonical ids beyond which it sees nothing."""

    name: str
    tools: tuple[str, ...] = ()
    lifetime: Lifetime = USUAL

    def mistakes(self, terms: Terms, now: int) -> Iterator[tuple[str, str]]:
        """Yield what is wrong with it, by the names of the API."""
        yield from terms.expiry_mistakes(self.lifetime, now)


class TenantTokens:
    """The tenant tokens of the ledger."""

    def __init__(self, ledger: Ledger, terms: Terms) -> None:
        self._ledger = ledger
        self._terms = terms

    async def mint(self, actor: Actor, wanted: NewToken) -> Minted:
        """Mint a token of the actor's tenant. Raises InvalidBody, NotPermitted, NotFound, Unavailable."""
        now, tenant = now_ms(), actor.home
        require_none(wanted.mistakes(self._terms, now))
        if tenant is None:
            raise InvalidBody((("tenant_id", "is missing: your credential is of no tenant, and a token is of one"),))
        secret, id_ = keys.mint_token(), keys.new_id()
        with actor.begin("TokenMinted", OWN if actor.person else ALL, kind="token", id=id_, tenant=tenant) as deed:
            credential = Credential(
                id=id_,
                hash=keys.sha256(secret),
                prefix=keys.shown(secret),
                principal=f"token:{id_}",
                name=wanted.name,
                role=await _frozen(actor, deed, tenant),
                tenant=tenant,
                created_at=now,
                created_by=actor.author,
                expires_at=wanted.lifetime.end(now),
                kind=CredentialKind.TENANT_TOKEN,
                tools=wanted.tools,
            )
            self._terms.require_tenant(tenant)
            deed.target.update(about(credential))
            revision = await deed.mutated(functools.partial(self._ledger.add_credential, credential))
        return Minted(secret, credential, await actor.enforced(revision))

    async def page(
        self, actor: Actor, tenant: str | None, *, after: str | None = None, limit: int = 100
    ) -> Sequence[Credential]:
        """Return tokens of a tenant, or with None of all, oldest first; of a person without more rights, its own."""
        with actor.begin(READING, ALL, tenant=tenant) as deed:
            mine = None
            if actor.person and not await deed.may(ALL, tenant):
                await deed.require(OWN, tenant)
                mine = actor.author
            elif not actor.person:
                await deed.require(ALL, tenant)
            return await self._ledger.credentials_page(
                kind=CredentialKind.TENANT_TOKEN, tenant=tenant, created_by=mine, after=after, limit=limit
            )

    async def revoke(self, actor: Actor, id_: str) -> Change:
        """Revoke a live token. Raises NotFound where there is none that is the actor's business, NotPermitted."""
        with actor.begin("TokenRevoked", OWN if actor.person else ALL, kind="token", id=id_) as deed:
            credential = await self._found(actor, deed, id_)
            deed.target.update(about(credential))
            revision = await revoke(self._ledger, self._terms, actor, deed)
        return await actor.enforced(revision)

    async def _found(self, actor: Actor, deed: Deed, id_: str) -> Credential:
        """Return the token of this id; somebody else's is answered like one that is not there (A11)."""
        found = await self._ledger.credential(id_)
        if found is not None and found.kind is CredentialKind.TENANT_TOKEN:
            if await deed.may(ALL, found.tenant):
                return found
            owned = actor.person and found.created_by == actor.author and found.tenant == actor.home
            if owned and await deed.may(OWN, found.tenant):
                return found
        await deed.require(OWN if actor.person else ALL, actor.home)
        raise NotFound(f"no token {id_}; see `portcullis token list`")


async def _frozen(actor: Actor, deed: Deed, tenant: str) -> str:
    """Return the role that the token gets: the most of those that the minter holds at this moment."""
    action, scope = OWN if actor.person else ALL, scope_of(tenant)
    for role in FROZEN[:-1]:
        if await deed.may(action, tenant, Grant(role, scope)):
            return role
    await deed.require(action, tenant, Grant(FROZEN[-1], scope))
    return FROZEN[-1]


def about(token: Credential) -> dict[str, Any]:
    """Return what an event says of a token."""
    return {"kind": "token", "id": token.id, "role": token.role, "tenant": token.tenant, "tools": list(token.tools)}
