"""What every request passes before its body is believed: host, origin, media type, size, identity, tenant."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web

from gateway import audit
from gateway.authn.failures import key_of
from gateway.endpoints import discovery
from gateway.endpoints.bodies import Bodies
from gateway.endpoints.heads import host_of, is_json
from gateway.endpoints.refusals import Refusals
from gateway.errors import CredentialError, CredentialRequired, Crowded, InvalidCredential, TenantMismatch
from gateway.gcra import Limiter, Rate
from gateway.ids import TENANT_ID
from gateway.in_flight import InFlight
from gateway.model import CredentialKind, RequestInfo
from gateway.recording import Caller

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from gateway.administration import Administration
    from gateway.administration.acting import Office
    from gateway.audit import AuditTrail
    from gateway.authn import Authn
    from gateway.config import Config
    from gateway.hearing import Hearing
    from gateway.lifecycle import Lifecycle
    from gateway.model import Principal
    from gateway.pep import Pep
    from gateway.rereading import Rereading
    from gateway.tenancy import Tenancy

T = TypeVar("T")
TENANT_HEADER = "X-Tenant-ID"
LOGINS = Rate(per_minute=0.1, burst=1)
INFO = web.RequestKey("info", RequestInfo)


@dataclass(frozen=True, slots=True)
class Door:
    """What one configuration gives to the endpoints. A request reads it once, so it sees one configuration."""

    config: Config
    tenants: frozenset[str]
    authn: Authn
    pep: Pep
    hearing: Hearing
    lifecycle: Lifecycle
    administration: Administration
    office: Office
    tenancy: Tenancy
    rereading: Rereading


class Gate:
    """Turns an HTTP request into a Caller, or refuses it."""

    def __init__(
        self,
        current: Callable[[], Door],
        trail: AuditTrail,
        *,
        bodies: Bodies | None = None,
    ) -> None:
        self._bodies = bodies or Bodies()
        self._current = current
        self._trail = trail
        self._detached: set[asyncio.Task[Any]] = set()
        self._logins = Limiter()
        self.refusals = Refusals(trail)
        """What is recorded and slowed of those who are turned away."""
        self.in_flight = InFlight()
        """Requests that passed the gate, and work that outlived its client."""

    @property
    def door(self) -> Door:
        """The door in force."""
        return self._current()

    def enter(self, request: web.Request) -> Door:
        """Return the door in force, after the checks that need no identity (A37, A38, A43).

        Raises web.HTTPException: 421 for a foreign Host, 403 for a foreign Origin, 415, 413.
        """
        door = self._current()
        server = door.config.server
        if server.allowed_hosts and host_of(request) not in server.allowed_hosts:
            raise web.HTTPMisdirectedRequest
        origin = request.headers.get("Origin")
        if origin is not None and origin not in server.allowed_origins:
            raise web.HTTPForbidden(text="Access denied: this origin is not allowed")
        codings = request.headers.getall("Content-Encoding", ())
        if codings and any(coding.lower() != "identity" for coding in codings):
            raise web.HTTPUnsupportedMediaType(text="Send the body without a content encoding")
        if (request.content_length or 0) > server.max_body_bytes:
            raise web.HTTPRequestEntityTooLarge(server.max_body_bytes, request.content_length or 0)
        return door

    async def body(self, request: web.Request, door: Door) -> bytes:
        """Return the whole body; a slow one is 408, one over `max_body_bytes` is 413, another media type is 415.

        Raises Crowded, recorded, where there is no room for it beside what others are sending.
        """
        limit = door.config.server.max_body_bytes
        if request.content.is_eof():
            # It came together with the head, as most do: there is nothing to wait for.
            body = request.content.read_nowait()
        else:
            body = await self._slow_body(request, limit)
        if len(body) > limit:
            raise web.HTTPRequestEntityTooLarge(limit, len(body))
        if body and not is_json(request.headers.get("Content-Type", "")):
            raise web.HTTPUnsupportedMediaType(text="Content-Type must be application/json")
        return body

    async def _slow_body(self, request: web.Request, limit: int) -> bytes:
        info = request[INFO]
        try:
            return await self._bodies.read(request.content, limit, key_of(info.ip))
        except Crowded:
            self.refusals.crowded(info)
            raise

    async def identify(self, request: web.Request, door: Door) -> Caller:
        """Return who asks; every way to fail is recorded with its true reason (A01, A05, A49).

        Raises CredentialError, TooManyRequests instead of it for an address that fails too often (A51), TenantMismatch,
        and Unavailable where no failure could be recorded any more: refusals must not fill the memory either.
        """
        auth = door.config.auth
        caller = await self._authenticated(request, door)
        return self._placed(request, caller, selects=auth.act_as_on_mcp and is_service_key(caller.principal))

    async def operator(self, request: web.Request) -> tuple[Door, Caller]:
        """Return the door in force and who asks the admin API, where anybody must be known and none ask too often.

        Whoever has no tenant may select one, by header or path; policy says whether. Raises what `enter` and
        `identify` raise.
        """
        door = self.enter(request)
        caller = await self._authenticated(request, door)
        if caller.principal.kind is CredentialKind.ANONYMOUS:
            raise self.refusals.unauthenticated(caller.request, CredentialRequired("the admin API needs a credential"))
        self.refusals.require_admin_rate(caller)
        return door, self._placed(request, caller, selects=True)

    async def _authenticated(self, request: web.Request, door: Door) -> Caller:
        info = request[INFO]
        self._trail.require_room()
        try:
            presented = door.authn.present(request.headers, request.query)
            principal = await door.authn.authenticate(presented, discovery.resource_of(door.config, request.path))
        except CredentialError as error:
            raise self.refusals.unauthenticated(info, error) from error
        caller = Caller(principal, info)
        self._note_login(caller)
        return caller

    async def still(self, request: web.Request, caller: Caller) -> Door:
        """Return the door in force, where the credential of a request that goes on is as good as when it came.

        Raises CredentialError, TenantMismatch.
        """
        door = self._current()
        auth = door.config.auth
        presented = door.authn.present(request.headers, request.query)
        principal = await door.authn.authenticate(presented, discovery.resource_of(door.config, request.path))
        selects = auth.act_as_on_mcp and is_service_key(principal)
        now = self._placed(request, replace(caller, principal=principal), selects=selects)
        if now.principal.identity != caller.principal.identity:
            raise InvalidCredential("it speaks for somebody else by now", principal.kind)
        return door

    def _note_login(self, caller: Caller) -> None:
        """Record that a credential is used from an address, once in ten minutes; each use has its own event."""
        who = caller.principal
        if who.credential is None:
            return
        key = (who.issuer, who.credential.id, caller.request.ip)
        if not self._logins.take(key, LOGINS, time.monotonic()):
            self._trail.record(
                audit.event(
                    "AuthenticationSucceeded",
                    "success",
                    tenant=who.tenant,
                    actor=audit.actor_of(who),
                    source=audit.source_of(caller.request),
                )
            )

    def _placed(self, request: web.Request, caller: Caller, *, selects: bool) -> Caller:
        """Return the caller in the tenant that the request asserts: its credential's, or one that it may select."""
        asserted = request.headers.getall(TENANT_HEADER, [])
        if "tenant" in request.match_info:
            asserted.append(request.match_info["tenant"])
        if not asserted:
            return caller
        try:
            return replace(caller, principal=placed(caller.principal, asserted, selects=selects))
        except TenantMismatch as mismatch:
            self.refusals.foreign_tenant(caller, mismatch.tenant)
            raise

    async def detached(self, work: Coroutine[Any, Any, T]) -> T:
        """Await work that goes on when the client disconnects, as admin actions do."""
        return await asyncio.shield(self.detach(work))

    def detach(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin work that does not end with its request; nobody has to wait for it."""
        task = asyncio.ensure_future(self._counted(work))
        self._detached.add(task)
        task.add_done_callback(self._finished)
        return task

    async def _counted(self, work: Coroutine[Any, Any, T]) -> T:
        with self.in_flight:
            return await work

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._detached.discard(task)
        if not task.cancelled():
            task.exception()  # read, because a client that has gone reads it no more; its event tells


def placed(principal: Principal, asserted: Sequence[str], *, selects: bool) -> Principal:
    """Return the principal in the tenant that a request asserts, which says nothing more than its credential does.

    Only a principal without tenant that `selects` may name one, and then just one, to act for; that is a fact for
    policy, which says whether it may. Raises TenantMismatch, alike for a foreign tenant and for one that is not there.
    """
    foreign = [tenant for tenant in asserted if tenant != principal.tenant]
    if not foreign:
        return principal
    if selects and principal.tenant is None and len(set(asserted)) == 1 and TENANT_ID.fullmatch(foreign[0]):
        return replace(principal, acting_for=foreign[0])
    raise TenantMismatch(foreign[0])


def is_service_key(principal: Principal) -> bool:
    """Say whether this is an API key of a service: who may serve many tenants on MCP, if anybody."""
    return principal.kind is CredentialKind.API_KEY and principal.subject.startswith("service:")
