"""The operations of the administration by their names in openapi.yaml, over documents: what the admin API does with a
request, and the command line with its options.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.administration.api_keys import NewKey
from gateway.administration.documents import assignment_document, key_document, token_document
from gateway.administration.events import event_document, verification_document
from gateway.administration.identity import Asked, findings
from gateway.administration.pages import page, place
from gateway.administration.roles import Assignment, cursor_of
from gateway.administration.tenant_tokens import NewToken
from gateway.administration.terms import Lifetime
from gateway.audit import now_ms
from gateway.ledger.values import AuditFilter
from gateway.model import Grant

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping

    from gateway.administration import Administration
    from gateway.administration.acting import Actor, Change
    from gateway.administration.api_keys import Minted
    from gateway.model import RequestInfo

LIMIT = 100
OVERLAP_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, well-formed: its body, the parameters of its query, the id in its path, and when and where."""

    request: RequestInfo
    body: Mapping[str, Any] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""

    @property
    def limit(self) -> int:
        """How many entries of a list are asked for."""
        return int(self.query.get("limit", LIMIT))

    def tenant(self, actor: Actor) -> str | None:
        """Return the tenant that is asked about: the one that is named, else the actor's own; None for all of them."""
        named: str | None = self.query.get("tenant_id", actor.home)
        return named


@dataclass(frozen=True, slots=True)
class Told:
    """An answer: what was changed, if anything was; `secret` where the document has one, which is shown this once."""

    document: Mapping[str, Any]
    change: Change | None = None
    secret: bool = False
    still_configured: bool = False


async def create_key(office: Administration, actor: Actor, ask: Ask) -> Told:
    """Make a key; without `tenant_id` it is of the actor's tenant, with null of none."""
    return _key(await office.keys.create(actor, _new_key(ask.body, actor.home)))


async def list_keys(office: Administration, actor: Actor, ask: Ask) -> Told:
    """List keys of a tenant, or of all."""
    after = place(ask.query.get("cursor"), str)
    found = await office.keys.page(actor, ask.tenant(actor), after=after, limit=ask.limit + 1)
    return Told(page("keys", found, ask.limit, key_document, lambda one: one.id))


async def revoke_key(office: Administration, actor: Actor, ask: Ask) -> Told:
    """Revoke a key."""
    return Told({"revoked": True, "id": ask.id}, await office.keys.revoke(actor, ask.id))


async def rotate_key(office: Administration, actor: Actor, ask: Ask) -> Told:
    """Make a key's successor; the old one ends after the overlap."""
    seconds = ask.body.get("overlap_seconds", OVERLAP_SECONDS)
    return _key(await office.keys.rotate(actor, ask.id, seconds), replaces=ask.id)


async def mint_token(office: Administration, actor: Actor, ask: Ask) -> Told:
    """Mint a token of the actor's tenant."""
    minted = await office.tokens.mint(actor, _new_token(ask.body))
    return Told({"token": minted.secret, **token_document(minted.credential)}, minted.change, secret=True)


async def list_tokens(office: Administration, actor: Actor, ask: Ask) -> Told:
    """List the tokens of a tenant, or of a person its own."""
    after = place(ask.query.get("cursor"), str)
    found = await office.tokens.page(actor, ask.tenant(actor), after=after, limit=ask.limit + 1)
    return Told(page("tokens", found, ask.limit, token_document, lambda one: one.id))


async def revoke_token(office: Administration, actor: Actor, ask: Ask) -> Told:
    """Revoke a token; it stays in the list."""
    return Told({"revoked": True, "id": ask.id}, await office.tokens.revoke(actor, ask.id))


async def list_roles(office: Administration, actor: Actor, ask: Ask) -> Told:
    """List which roles there are, and who has which at a tenant or everywhere."""
    after = place(ask.query.get("cursor"), list)
    found = await office.roles.page(
        actor,
        ask.tenant(actor),
        principal=ask.query.get("principal"),
        after=after and tuple(map(str, after)),
        limit=ask.limit + 1,
    )
    roles = [
        {"name": name, "permissions": list(grants), "built_in": built_in}
        for name, grants, built_in in office.roles.there_are()
    ]
    return Told({"roles": roles, **page("assignments", found, ask.limit, assignment_document, cursor_of)})


async def assign_role(office: Administration, actor: Actor, ask: Ask) -> Told:
    """Give a role to a principal at a scope."""
    wanted = _assignment(ask.body)
    return Told({"assigned": True, **asdict(wanted)}, await office.roles.assign(actor, wanted))


async def revoke_role(office: Administration, actor: Actor, ask: Ask) -> Told:
    """Take a role away that was given at runtime."""
    wanted = _assignment(ask.body)
    taken = await office.roles.revoke(actor, wanted)
    return Told({"revoked": True, **asdict(wanted)}, taken.change, still_configured=taken.still_configured)


async def whoami(office: Administration, actor: Actor, ask: Ask) -> Told:
    """Say who the actor is here, and what it may do at home."""
    return Told(await office.identity.whoami(actor, ask.request))


async def check(office: Administration, actor: Actor, ask: Ask) -> Told:
    """Say what policy would say to somebody, and which layer says no."""
    return Told(findings(await office.identity.check(actor, ask.request, _asked(ask.body, actor.home))))


async def list_events(office: Administration, actor: Actor, ask: Ask) -> Told:
    """List events, newest first unless `order` is oldest."""
    query = ask.query
    names = {"principal": "principal", "type": "type", "outcome": "outcome", "target": "tool"}
    wanted = AuditFilter(
        since=query.get("since"),
        until=query.get("until"),
        **{name: query.get(parameter) for name, parameter in names.items()},
    )
    found = await office.events.page(
        actor,
        ask.tenant(actor),
        wanted,
        after=place(query.get("cursor"), int),
        limit=ask.limit + 1,
        newest_first=query.get("order", "newest") == "newest",
    )
    return Told(page("events", found, ask.limit, lambda one: event_document(*one), lambda one: one[0]))


async def verify_trail(office: Administration, actor: Actor, _ask: Ask) -> Told:
    """Look at the chain of every writer, and say where one does not hold."""
    return Told(verification_document(await office.events.verify(actor)))


OPERATIONS: Mapping[str, Callable[[Administration, Actor, Ask], Coroutine[Any, Any, Told]]] = {
    "createKey": create_key,
    "listKeys": list_keys,
    "revokeKey": revoke_key,
    "rotateKey": rotate_key,
    "mintToken": mint_token,
    "listTokens": list_tokens,
    "revokeToken": revoke_token,
    "listRoles": list_roles,
    "assignRole": assign_role,
    "revokeRole": revoke_role,
    "whoami": whoami,
    "check": check,
    "listEvents": list_events,
    "verifyTrail": verify_trail,
}


def mistakes(operation: str, office: Administration, body: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Yield what is wrong with the well-formed fields of a body, which need not be all of them."""
    match operation:
        case "createKey":
            return _new_key(body, None).mistakes(office.terms, now_ms())
        case "mintToken":
            return _new_token(body).mistakes(office.terms, now_ms())
        case "assignRole":
            found = _assignment(body).mistakes(office.terms)
            return (one for one in found if one[0] in body or {"principal", "role"} <= body.keys())
        case _:
            return ()


def _key(minted: Minted, **more: str) -> Told:
    return Told({"key": minted.secret, **key_document(minted.credential), **more}, minted.change, secret=True)


def _new_key(body: Mapping[str, Any], home: str | None) -> NewKey:
    return NewKey(
        principal=body.get("principal", ""),
        name=body.get("name", ""),
        role=body.get("role"),
        tenant=body.get("tenant_id", home),
        lifetime=Lifetime(body.get("expires_in_days"), body.get("expires_at")),
    )


def _new_token(body: Mapping[str, Any]) -> NewToken:
    return NewToken(
        name=body.get("name", ""),
        tools=tuple(body.get("tools", ())),
        lifetime=Lifetime(body.get("expires_in_days"), body.get("expires_at")),
    )


def _assignment(body: Mapping[str, Any]) -> Assignment:
    return Assignment(body.get("principal", ""), body.get("role", ""), body.get("scope", ""), body.get("issuer"))


def _asked(body: Mapping[str, Any], home: str | None) -> Asked:
    tenant, grants = body.get("tenant_id", home), body.get("grants")
    return Asked(
        principal=body["principal"],
        action=body["action"],
        tenant=tenant,
        groups=tuple(body.get("groups", ())),
        issuer=body.get("issuer"),
        role=body.get("role"),
        name=body.get("name"),
        server=body.get("server"),
        arguments=body.get("arguments", {}),
        templates=tuple(body.get("templates", ())),
        target_tenant=body.get("target_tenant_id", tenant),
        grants=Grant(grants["role"], grants["scope"]) if grants else None,
    )
