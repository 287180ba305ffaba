"""Sync's HTTP: bundles by long poll for OPA, and for the gateway who has applied what. A bearer token on everything."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
import re
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from bundles.publisher import NotServed, Publisher
from gateway.model import BUNDLES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

LOG = logging.getLogger("portcullis.sync")
BUNDLE_TYPE = "application/vnd.openpolicyagent.bundles"
MAX_BODY_BYTES = 1 << 20
BODY_SECONDS = 10.0
# How OPA reports the polls that it gives up when it is told to end.
HUNG_UP = "context canceled"
GRACE_SECONDS = 2.0
LONGEST_WAIT_SECONDS = 30.0
WAIT = re.compile(r"(?:^|[;,\s])wait=([0-9]{1,6})(?:$|[;,\s])")


class Api:
    """The routes. `look` has the ledger read again and returns when that is done; `health` says how sync itself is.

    `control_token` is the gateway's, which reads progress; a replica's token reads bundles and posts its own status.
    """

    def __init__(
        self,
        publisher: Publisher,
        control_token: str,
        look: Callable[[float], Awaitable[None]],
        hint: Callable[[], None],
        health: Callable[[], dict[str, Any]],
    ) -> None:
        self._publisher = publisher
        self._control = hashlib.sha256(control_token.encode()).digest()
        self._look = look
        self._hint = hint
        self._health = health

    def application(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.on_response_prepare.append(_anonymous)
        app.router.add_get("/bundles/{name}", self.bundle, allow_head=False)
        app.router.add_post("/status/{replica}", self.status)
        app.router.add_post("/changed", self.change)
        app.router.add_get("/revisions/{revision:[0-9]{1,18}}", self.revisions, allow_head=False)
        app.router.add_get("/replicas", self.replicas, allow_head=False)
        app.router.add_get("/health", self.health, allow_head=False)
        return app

    async def bundle(self, request: web.Request) -> web.Response:
        """Serve a bundle: 200 on news, 304 at the end of a `wait`, 503 while there is nothing of it to serve."""
        name = request.match_info["name"]
        replica = await self._replica(request)
        if name not in BUNDLES:
            raise web.HTTPNotFound
        known = ",".join(request.headers.getall("If-None-Match", ()))
        try:
            served = await self._publisher.poll(name, replica, known, _prefer_wait(request), GRACE_SECONDS)
        except NotServed:
            return _problem(503, "nothing to serve")
        if served is None:
            return web.Response(status=304)
        return web.Response(body=served.body, content_type=BUNDLE_TYPE, headers={"ETag": served.etag})

    async def status(self, request: web.Request) -> web.Response:
        """Keep the error texts of OPA's status post."""
        replica = await self._replica(request)
        if replica != request.match_info["replica"]:
            return _problem(403, "a replica posts its own status only")
        if "Content-Encoding" in request.headers:
            return _problem(415, "compressed bodies are not taken")
        try:
            async with asyncio.timeout(BODY_SECONDS):
                status = orjson.loads(await request.read())
        except TimeoutError:
            return _problem(408, "the body did not arrive")
        except orjson.JSONDecodeError:
            return _problem(400, "not JSON")
        if not isinstance(status, dict):
            return _problem(400, "not an object")
        for name, text in self._publisher.replicas.reported(replica, status).items():
            level = logging.INFO if text.endswith(HUNG_UP) else logging.WARNING
            LOG.log(level, "replica %s does not activate %s: %s", replica, name, text)
        return _json({})

    async def change(self, request: web.Request) -> web.Response:
        """Take the hint that the ledger has changed."""
        self._require_control(request)
        self._hint()
        return _json({}, status=202)

    async def revisions(self, request: web.Request) -> web.Response:
        """Say which replicas have applied a revision, waiting for all of them up to `wait` seconds."""
        self._require_control(request)
        if not self._publisher.answers:
            return _problem(503, "nothing is served yet")
        revision = int(request.match_info["revision"])
        if revision > self._publisher.revision:
            self._hint()
        progress = await self._publisher.progress(revision, _wait(request.query))
        return _json(
            {
                "revision": revision,
                "applied": progress.applied,
                "replicas": progress.replicas,
                "current": progress.current,
            }
        )

    async def replicas(self, request: web.Request) -> web.Response:
        """Say of each replica what it has, when it was last heard of, and what went wrong there."""
        self._require_control(request)
        known = sorted(self._publisher.replicas.names)
        return _json({"replicas": [self._publisher.describe(name) for name in known]})

    async def health(self, request: web.Request) -> web.Response:
        """Say how sync is, 503 until all is served that can be; what is wrong is for the control token alone."""
        found = self._health()
        if not self._is_control(request):
            found = {name: found[name] for name in ("status", "revision")}
        return _json(found, status=200 if self._publisher.ready else 503)

    async def _replica(self, request: web.Request) -> str:
        token = _bearer(request)
        replica = self._publisher.replicas.of_token(token)
        if replica is None:
            # It may have registered a moment ago: look before turning it away.
            await self._look(GRACE_SECONDS)
            replica = self._publisher.replicas.of_token(token)
        if replica is None:
            if not self._publisher.answers:
                raise web.HTTPServiceUnavailable(headers={"Retry-After": "1"})
            raise _unauthorized()
        return replica

    def _require_control(self, request: web.Request) -> None:
        digest = hashlib.sha256(_bearer(request).encode("utf-8", "surrogateescape")).digest()
        if not hmac.compare_digest(digest, self._control):
            raise _unauthorized()

    def _is_control(self, request: web.Request) -> bool:
        with contextlib.suppress(web.HTTPUnauthorized):
            self._require_control(request)
            return True
        return False


async def _anonymous(_request: web.Request, response: web.StreamResponse) -> None:
    """Say nothing of what software and version this is."""
    response.headers.popall("Server", None)


def _bearer(request: web.Request) -> str:
    values = request.headers.getall("Authorization", ())
    scheme, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not token:
        raise _unauthorized()
    return token


def _unauthorized() -> web.HTTPUnauthorized:
    return web.HTTPUnauthorized(headers={"WWW-Authenticate": "Bearer"})


def _prefer_wait(request: web.Request) -> float | None:
    found = WAIT.search(";".join(request.headers.getall("Prefer", ())))
    return float(found[1]) if found else None


def _wait(query: Mapping[str, str]) -> float:
    """Return `wait` in seconds, 0 where there is none; raises 400 for what is not a short time."""
    text = query.get("wait", "0")
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,6})?", text):
        raise web.HTTPBadRequest
    return min(float(text), LONGEST_WAIT_SECONDS)


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")


def _problem(status: int, detail: str) -> web.Response:
    headers = {"Retry-After": "1"} if status == 503 else {}
    body = orjson.dumps({"status": status, "detail": detail})
    return web.Response(body=body, status=status, headers=headers, content_type="application/problem+json")
