"""Every route of a listener, and the one layer around them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from aiohttp import HttpVersion11, web

from gateway.endpoints import discovery, problems
from gateway.endpoints.common import add_common_headers, is_admitted
from gateway.endpoints.gate import INFO, TENANT_HEADER
from gateway.endpoints.heads import request_info
from gateway.errors import CredentialRequired, GatewayError, InvalidBody
from gateway.mcp.headers import LAST_EVENT, METHOD, NAME, SESSION, VERSION

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from gateway.config import Config
    from gateway.endpoints.reply import Answer
    from gateway.metrics import Metrics
    from gateway.model import RequestInfo

LOG = logging.getLogger("portcullis.http")
# What a page may send beside the header of API keys, whose name is configured, and what it may read of an answer.
SENT = f"Authorization, Content-Type, Accept, {TENANT_HEADER}, {VERSION}, {METHOD}, {NAME}, {SESSION}, {LAST_EVENT}"
# What is refused before anybody is asked, and who tries it should be seen: bodies, media types, origins, hosts.
RECORDED = frozenset({400, 403, 408, 413, 415, 421})
# The method that aiohttp gives to what its parser could not read; no client can send it.
UNREADABLE = "UNKNOWN"


class Onion:
    """The layer around every handler: names the request, turns errors into problems, counts, speaks CORS (A59)."""

    def __init__(
        self, config: Callable[[], Config], metrics: Metrics, malformed: Callable[[RequestInfo, str], None]
    ) -> None:
        self._config = config
        self._malformed = malformed
        self._metrics = metrics

    async def around(self, request: web.Request) -> Answer:
        """Answer one request, which knows its place among the routes."""
        config = self._config()
        request[INFO] = request_info(request, config)
        preflighted = request.method == "OPTIONS" and request.version >= HttpVersion11
        if preflighted and is_admitted(request, config):
            response: Answer = web.Response(status=204, headers=preflight(config))
        else:
            response = await self._answered(request, config)
        add_common_headers(response.headers, request, config)
        route = request.match_info.route.resource
        self._metrics.answered("" if route is None else route.canonical, response.status)
        return response

    async def _answered(self, request: web.Request, config: Config) -> Answer:
        request_id = request[INFO].id
        try:
            if request.method == UNREADABLE:
                raise web.HTTPBadRequest(text="This is not HTTP/1.1 as everybody reads it")
            if request.version != HttpVersion11:
                raise web.HTTPVersionNotSupported(text="HTTP/1.1 is required")
            if "Expect" in request.headers:
                await request.match_info.expect_handler(request)
            answer: Answer = await request.match_info.handler(request)
            return answer
        except GatewayError as error:
            refusal = problems.response_to(error, request_id, challenge_for(request, config, error))
            if isinstance(error, InvalidBody):
                self._malformed(request[INFO], str(error))
            if refusal.status == 500:
                LOG.exception(
                    "a request failed with an error that no handler expected", extra={"request_id": request_id}
                )
            return refusal
        except web.HTTPException as error:
            headers = {name: error.headers[name] for name in ("Allow", "Location") if name in error.headers}
            detail = error.text if error.text and not error.text.startswith(f"{error.status}:") else error.reason
            if error.status in RECORDED:
                self._malformed(request[INFO], detail)
            return problems.render(error.status, error.reason, detail, request_id, headers)
        except Exception:  # (a defect of ours is a plain 500, never a page with a trace)
            LOG.exception("a request failed for no known reason", extra={"request_id": request_id})
            return problems.render(500, "Internal Server Error", "The request failed", request_id)


def preflight(config: Config) -> dict[str, str]:
    """Return the headers that answer a CORS preflight of an admitted origin."""
    return {
        "Access-Control-Allow-Methods": "GET, POST, DELETE",
        "Access-Control-Allow-Headers": f"{SENT}, {config.auth.api_key.header_name}",
        "Access-Control-Max-Age": "600",
    }


def challenge_for(request: web.Request, config: Config, error: GatewayError) -> str:
    """Return the challenge of this endpoint: a tenant's path points to the document of just that path."""
    sent = not isinstance(error, CredentialRequired) and "Authorization" in request.headers
    return discovery.challenge(config, discovery.tenant_path(request) or "", token_sent=sent)


def application(onion: Onion, routes: Iterable[web.RouteDef]) -> Callable[[web.Request], Awaitable[Answer]]:
    """Return what answers a request by these routes, with the onion around each.

    It is aiohttp's router without the rest of its Application, whose middlewares, signals and sub-applications cost
    more than the router and are not used here.
    """
    router = web.UrlDispatcher()
    router.add_routes(list(routes))
    router.freeze()

    async def answer(request: web.Request) -> Answer:
        if request.method == UNREADABLE:
            request = request.clone(headers={})  # (of these aiohttp gives it none, not even an empty set)
        request._match_info = await router.resolve(request)  # noqa: SLF001 (as aiohttp's Application does)
        return await onion.around(request)

    return answer
