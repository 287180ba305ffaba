"""MCP over HTTP, both eras on one endpoint: read one message, walk the corridor, answer in the agent's revision."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gateway.endpoints.reply import Reply, as_aiohttp
from gateway.endpoints.traced import begun, carried_out
from gateway.errors import DecisionUnavailable, NotPermitted, NotVisible, OverLimit, Unavailable, UpstreamFailed
from gateway.ids import SERVER_ID
from gateway.mcp import envelope, results
from gateway.mcp.envelope import Request
from gateway.mcp.eras import Action, Era, Route, classify, status
from gateway.mcp.errors import INVALID_PARAMS, Rejection
from gateway.model import View

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from gateway.endpoints.gate import Door, Gate
    from gateway.recording import Caller
    from gateway.tracing import Tracing

# Outside the range that JSON-RPC reserves (mcp 2026-07-28, basic/index): these are the gateway's own.
DECISION_UNAVAILABLE = 50300
OVER_LIMIT = 42900
UPSTREAM_FAILED = 50200
HEADERS = {"Cache-Control": "private, no-store"}


@dataclass(frozen=True, slots=True)
class Mcp:
    """`/mcp`, and the same for one tenant by path, and for one of its servers alone."""

    gate: Gate
    tracing: Tracing | None = None
    goes_on: frozenset[Era] = frozenset({Era.LEGACY})
    """In which eras a call goes on when its client hangs up."""

    def routes(self) -> list[web.RouteDef]:
        """Return the routes; GET and DELETE are 405, because there are no sessions and no streams to join."""
        paths = ("/mcp", "/tenant/{tenant}/mcp", "/tenant/{tenant}/servers/{server}/mcp")
        return [web.post(path, as_aiohttp(self.post)) for path in paths]

    async def post(self, request: web.Request) -> Reply:
        """Answer one posted message."""
        with self.gate.in_flight:
            door = self.gate.enter(request)
            caller = await self.gate.identify(request, door)
            message = envelope.parse(await self.gate.body(request, door))
            if isinstance(message, Rejection):
                return self._rejected(message, caller)
            route = classify(request.headers, message)
            if isinstance(route, Rejection):
                return self._rejected(route, caller)
            if not isinstance(message, Request):
                return Reply(202, HEADERS.copy())
            more = viewed(request) | ({"client": route.client} if route.client else {})
            if self.tracing is not None:
                more["trace"] = begun(self.tracing, request.headers, caller, route.version, message)
            return await self.answered(door, replace(caller, **more) if more else caller, route, message)

    def _rejected(self, rejection: Rejection, caller: Caller) -> Reply:
        self.gate.refusals.malformed(caller.request, rejection.message, caller.principal)
        return rejected(rejection)

    async def answered(self, door: Door, caller: Caller, route: Route, message: Request) -> Reply:
        """Answer a request that has passed every rung."""
        work = ANSWERS[route.action](self, door, caller, route, message)
        if caller.trace is not None:
            work = carried_out(caller.trace, work)
        if route.action is Action.CALL_TOOL and route.era in self.goes_on:
            work = self.gate.detached(work)
        try:
            return await work
        except NotVisible:
            text = f"Unknown tool: {message.params['name']}"
            return failed(message, status(route.era, INVALID_PARAMS), INVALID_PARAMS, text)
        except OverLimit as error:
            return over(message, error)
        except NotPermitted as error:
            return answer(results.tool_error(message.id, route.era, denial(error)))
        except UpstreamFailed as error:
            return failed(message, 200, UPSTREAM_FAILED, f"Server {error.server}: {error.why}")
        except (DecisionUnavailable, Unavailable):
            text = "No policy decision is available; nothing was done"
            return failed(message, 503, DECISION_UNAVAILABLE, text)

    async def initialize(self, _door: Door, _caller: Caller, _route: Route, message: Request) -> Reply:
        """Shake hands, without a session."""
        return answer(results.initialize(message.id, message.params.get("protocolVersion")))

    async def discover(self, _door: Door, _caller: Caller, _route: Route, message: Request) -> Reply:
        """Say what is served."""
        return answer(results.discover(message.id))

    async def ping(self, _door: Door, _caller: Caller, _route: Route, message: Request) -> Reply:
        """Answer a ping."""
        return answer(results.pong(message.id))

    async def list_tools(self, door: Door, caller: Caller, route: Route, message: Request) -> Reply:
        """List exactly what policy shows; there is one page, so no cursor is one of ours."""
        return answer(*results.tool_list(message.id, route.era, await door.pep.list_tools(caller)))

    async def call_tool(self, door: Door, caller: Caller, route: Route, message: Request) -> Reply:
        """Call a tool. Where a modern client hangs up the call is cancelled, where a legacy one does it may go on."""
        call = envelope.tool_call(message)
        if isinstance(call, Rejection):
            if caller.trace is not None:
                caller.trace.failed_with(call.code)
            return rejected(replace(call, status=status(route.era, call.code)))
        reply = await door.pep.call_tool(caller, call.name, call.arguments, message.meta)
        return answer(results.relayed(message.id, route.era, reply))


ANSWERS: Mapping[Action, Callable[[Mcp, Door, Caller, Route, Request], Coroutine[Any, Any, Reply]]] = {
    Action.INITIALIZE: Mcp.initialize,
    Action.DISCOVER: Mcp.discover,
    Action.PING: Mcp.ping,
    Action.LIST_TOOLS: Mcp.list_tools,
    Action.CALL_TOOL: Mcp.call_tool,
}


def viewed(request: web.Request) -> dict[str, Any]:
    """Return what the path says of the view: one server alone, or all under flat names."""
    server = request.match_info.get("server")
    if server is None:
        return {}
    if not SERVER_ID.fullmatch(server):
        raise web.HTTPNotFound
    return {"view": View.SERVER, "server": server}


def code_of(error: BaseException) -> int | None:
    """Return the JSON-RPC code that an error is answered with, None where the answer is none."""
    match error:
        case NotVisible():
            return INVALID_PARAMS
        case UpstreamFailed():
            return UPSTREAM_FAILED
        case DecisionUnavailable() | Unavailable():
            return DECISION_UNAVAILABLE
        case _:
            return None


def denial(error: NotPermitted) -> str:
    """Return what a model is told of a refusal: the codes, which its policy's author chose."""
    codes = ", ".join(reason.code for reason in error.reasons) or "policy"
    return f"Access denied: {codes}"


def answer(*pieces: bytes, http_status: int = 200) -> Reply:
    """Return a JSON response; its text may come in pieces."""
    headers = HEADERS.copy() if http_status != 503 else HEADERS | {"Retry-After": "1"}
    return Reply(http_status, headers, *pieces)


def failed(message: Request, http_status: int, code: int, text: str) -> Reply:
    """Return a JSON-RPC error to a request."""
    return answer(results.error(message.id, code, text), http_status=http_status)


def over(message: Request, error: OverLimit) -> Reply:
    """Return what tells an agent when to come back, in its own protocol and in HTTP's."""
    data = {"limit": error.limit, "retryAfterMs": math.ceil(error.retry_after * 1000)}
    headers = HEADERS | {"Retry-After": str(math.ceil(error.retry_after))}
    return Reply(429, headers, results.error(message.id, OVER_LIMIT, str(error), data))


def rejected(rejection: Rejection) -> Reply:
    """Return the answer to a message that failed a rung."""
    body = results.error(rejection.id, rejection.code, rejection.message, rejection.data)
    return answer(body, http_status=rejection.status)
