"""What every request passes before its body is believed: host, origin, media type, size, identity, tenant."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web

from gateway import audit
from gateway.authn.proxies import client_address
from gateway.endpoints import discovery
from gateway.endpoints.listener import BODY_SECONDS
from gateway.errors import CredentialError, InvalidCredential, KeysUnavailable, TenantMismatch
from gateway.in_flight import InFlight
from gateway.model import RequestInfo
from gateway.recording import Caller

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gateway.audit import AuditTrail
    from gateway.authn import Authn
    from gateway.authn.failures import FailureTally
    from gateway.config import Config
    from gateway.lifecycle import Lifecycle
    from gateway.model import AuditEvent, Principal
    from gateway.pep import Pep

T = TypeVar("T")
TENANT_HEADER = "X-Tenant-ID"
INFO = web.RequestKey("info", RequestInfo)


@dataclass(frozen=True, slots=True)
class Door:
    """What one configuration gives to the endpoints. A request reads it once, so it sees one configuration."""

    config: Config
    tenants: frozenset[str]
    authn: Authn
    pep: Pep
    lifecycle: Lifecycle


class Gate:
    """Turns an HTTP request into a Caller, or refuses it; failed authentications are recorded here."""

    def __init__(
        self,
        current: Callable[[], Door],
        trail: AuditTrail,
        failures: FailureTally,
        malformed: FailureTally,
        *,
        body_seconds: float = BODY_SECONDS,
    ) -> None:
        self._body_seconds = body_seconds
        self._current = current
        self._trail = trail
        self._failures = failures
        self._malformed = malformed
        self._detached: set[asyncio.Task[Any]] = set()
        self.in_flight = InFlight()
        """Requests that passed the gate, and work that outlived its client."""

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
        """Return the whole body; a slow one is 408, one over `max_body_bytes` is 413, another media type is 415."""
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
        """Return the body as it arrives, not much more of it than the limit."""
        chunks = bytearray()
        try:
            async with asyncio.timeout(self._body_seconds):
                async for chunk in request.content.iter_any():
                    chunks += chunk
                    if len(chunks) > limit:
                        break
        except TimeoutError:
            raise web.HTTPRequestTimeout from None
        return bytes(chunks)

    async def identify(self, request: web.Request, door: Door) -> Caller:
        """Return who asks; every way to fail is recorded with its true reason (A01, A05, A49).

        Raises Unavailable where no failure could be recorded any more: refusals must not fill the memory either.
        """
        info = request[INFO]
        self._trail.require_room()
        try:
            presented = door.authn.present(request.headers, request.query)
            principal = await door.authn.authenticate(presented, discovery.resource_of(door.config, request.path))
        except CredentialError as error:
            self.refused(info, error)
            raise
        caller = Caller(principal, info)
        self._require_tenant(request, caller)
        return caller

    def refused(self, info: RequestInfo, error: CredentialError) -> None:
        """Record a failed authentication; a flood from one address is folded into counts."""
        if self._failures.note(info.ip, time.monotonic()):
            self._trail.record(
                audit.event(
                    "AuthenticationFailed",
                    "error" if isinstance(error, KeysUnavailable) else "failure",
                    reason=error.reason,
                    actor={"kind": error.kind} if isinstance(error, InvalidCredential) else {},
                    source=audit.source_of(info),
                    target={"detail": audit.clipped(str(error))},
                )
            )

    def malformed(self, info: RequestInfo, why: str, principal: Principal | None = None) -> None:
        """Record a request that was refused before any decision; a flood from one address is folded into counts."""
        if self._malformed.note(info.ip, time.monotonic()):
            self._trail.record(
                audit.event(
                    "RequestRefused",
                    "failure",
                    reason="malformed_request",
                    tenant=principal.tenant if principal else None,
                    actor=audit.actor_of(principal) if principal else {},
                    source=audit.source_of(info),
                    target={"detail": audit.clipped(why)},
                )
            )

    def record_folded(self, *, everything: bool = False) -> None:
        """Record the counts of refusals that were not recorded one by one, of the minutes that are over."""
        for type_, tally in (("AuthenticationFailed", self._failures), ("RequestRefused", self._malformed)):
            for folded in tally.due(time.monotonic(), everything=everything):
                source = {"ip": folded.address}
                self._trail.record(audit.event(type_, "failure", reason="repeated", source=source, count=folded.count))

    def _require_tenant(self, request: web.Request, caller: Caller) -> None:
        asserted = request.headers.getall(TENANT_HEADER, [])
        if "tenant" in request.match_info:
            asserted.append(request.match_info["tenant"])
        for tenant in asserted:
            if tenant != caller.principal.tenant:
                self._trail.record(foreign_tenant(caller, tenant))
                raise TenantMismatch(tenant)

    async def detached(self, work: Coroutine[Any, Any, T]) -> T:
        """Await work that goes on when the client disconnects: admin actions, and calls of the legacy eras."""
        task = asyncio.ensure_future(self._counted(work))
        self._detached.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    async def _counted(self, work: Coroutine[Any, Any, T]) -> T:
        with self.in_flight:
            return await work

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._detached.discard(task)
        if not task.cancelled():
            task.exception()  # read, because a client that has gone reads it no more; its event tells


def foreign_tenant(caller: Caller, tenant: str) -> AuditEvent:
    """Return the event of a request that names a tenant that is not its credential's."""
    return audit.event(
        "AuthorizationDenied",
        "failure",
        reason="tenant_mismatch",
        tenant=caller.principal.tenant,
        actor=audit.actor_of(caller.principal),
        source=audit.source_of(caller.request),
        target={"tenant": audit.clipped(tenant)},
    )


@lru_cache(maxsize=256)
def is_json(content_type: str) -> bool:
    """Say whether this is JSON's media type, with whatever parameters."""
    return content_type.partition(";")[0].strip(" \t").lower() == "application/json"


def host_of(request: web.Request) -> str:
    """Return the Host header without its port, lower-case."""
    host = request.headers.get("Host", "").lower()
    return host if host.endswith("]") else host.rpartition(":")[0] or host


def request_info(request: web.Request, config: Config) -> RequestInfo:
    """Return the facts the gateway vouches for: its own request id, the client's address, the time."""
    address = client_address(
        request.remote or "", request.headers.getall("X-Forwarded-For", []), config.server.trusted_proxies
    )
    now_ms = audit.now_ms()
    return RequestInfo(id=audit.uuid7(now_ms), ip=address, time=now_ms // 1000)
