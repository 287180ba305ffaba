"""MCP over HTTP, both eras on one endpoint: read one message, walk the corridor, answer in the agent's revision."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from aiohttp import web

from gateway.endpoints.agent_sessions import in_session
from gateway.endpoints.replies import accepted, answer, failed, no_session, refused, rejected, suited
from gateway.endpoints.reply import Reply, as_aiohttp
from gateway.endpoints.traced import begun, carried_out
from gateway.errors import GatewayError, UnknownSession
from gateway.ids import SERVER_ID
from gateway.mcp import envelope, results
from gateway.mcp.agent import Agent
from gateway.mcp.capabilities import relayed
from gateway.mcp.envelope import META_CAPABILITIES, META_LOG_LEVEL, Notification, Request, Response
from gateway.mcp.eras import Action, Era, Route, classify, spoken
from gateway.mcp.errors import INVALID_PARAMS, INVALID_REQUEST, Rejection
from gateway.mcp.headers import EVENTS, LAST_EVENT, SESSION
from gateway.mcp.headers import accepted as kinds_accepted
from gateway.mcp.levels import is_level
from gateway.model import View

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from gateway.endpoints.agent_sessions import AgentSessions
    from gateway.endpoints.calls import Calls
    from gateway.endpoints.gate import Door, Gate
    from gateway.endpoints.listening import Subscriptions
    from gateway.endpoints.reply import Answer
    from gateway.recording import Caller
    from gateway.sessions import Session
    from gateway.tracing import Tracing

PATHS = ("/mcp", "/tenant/{tenant}/mcp", "/tenant/{tenant}/servers/{server}/mcp")


class Asking(NamedTuple):
    """One request on its way: who asks, in which session, if in one, and how."""

    request: web.Request
    door: Door
    caller: Caller
    route: Route
    message: Request
    session: Session | None


@dataclass(frozen=True, slots=True)
class Mcp:
    """`/mcp`, and the same for one tenant by path, and for one of its servers alone."""

    gate: Gate
    calls: Calls
    sessions: AgentSessions
    subscriptions: Subscriptions
    tracing: Tracing | None = None

    def routes(self) -> list[web.RouteDef]:
        """Return the routes; GET and DELETE are for those who are in a session."""
        handlers = {"POST": self.post, "GET": self.get, "DELETE": self.delete}
        return [web.route(verb, path, as_aiohttp(handler)) for path in PATHS for verb, handler in handlers.items()]

    async def post(self, request: web.Request) -> Answer:
        """Answer one posted message."""
        with self.gate.in_flight:
            door = self.gate.enter(request)
            caller = await self.gate.identify(request, door)
            message = envelope.parse(await self.gate.body(request, door))
            route = message if isinstance(message, Rejection) else classify(request.headers, message)
            if isinstance(route, Rejection):
                reply: Answer = self._rejected(route, caller)
            else:
                assert not isinstance(message, Rejection)
                reply = await self._routed(request, door, caller, route, message)
        return suited(reply, kinds_accepted(request.headers)) if isinstance(reply, Reply) else reply

    async def _routed(
        self, request: web.Request, door: Door, caller: Caller, route: Route, message: envelope.Message
    ) -> Answer:
        more = viewed(request) | ({"client": route.client} if route.client else {})
        caller = replace(caller, **more) if more else caller
        try:
            session = self._session(request, caller, route)
        except UnknownSession:
            return self._without_session(message, caller)
        if session is not None:
            caller = in_session(caller, session)
        try:
            if not isinstance(message, Request):
                return await self._heard(door, caller, session, message)
            return await self._answered(Asking(request, door, caller, route, message, session))
        except GatewayError as error:
            if not isinstance(message, Request):
                raise
            return refused(error, message.id, message.method, str(message.params.get("uri", "")), route.era)

    async def _answered(self, asking: Asking) -> Answer:
        """Answer a request, all of it within its span; one that is told of changes has none, for it has no end."""
        action, message = asking.route.action, asking.message
        if self.tracing is None or action is Action.LISTEN:
            return await ANSWERS[action](self, asking)
        trace = begun(self.tracing, asking.request.headers, asking.caller, asking.route.version, message)
        work = ANSWERS[action](self, asking._replace(caller=replace(asking.caller, trace=trace)))
        # A call may go on without its agent, and its span with it.
        return await (work if action is Action.CALL else carried_out(trace, work))

    async def get(self, request: web.Request) -> Answer:
        """Open the stream of a session, or take one up again."""
        door, caller, session = await self._enter_session(request)
        if not kinds_accepted(request.headers).events:
            raise web.HTTPNotAcceptable(text=f"Not Acceptable: the answer is {EVENTS}")
        if event := request.headers.get(LAST_EVENT):
            return await self.sessions.resume(request, door, caller, session, event)
        return await self.sessions.listen(request, door, caller, session)

    async def delete(self, request: web.Request) -> Answer:
        """End a session."""
        _, caller, session = await self._enter_session(request)
        return self.sessions.end(caller, session)

    async def _enter_session(self, request: web.Request) -> tuple[Door, Caller, Session]:
        """Return who asks in which session; without one there is nothing to get or to delete."""
        door = self.gate.enter(request)
        caller = await self.gate.identify(request, door)
        sealed, era = request.headers.get(SESSION), spoken(request.headers)
        if era is None:
            raise web.HTTPBadRequest(text="Unsupported protocol version")
        if sealed is None or era is Era.MODERN:
            raise web.HTTPMethodNotAllowed(request.method, ["POST"])
        caller = replace(caller, **viewed(request))
        try:
            return door, caller, self.sessions.find(caller, sealed)
        except UnknownSession:
            self._noted(caller)
            raise

    def _session(self, request: web.Request, caller: Caller, route: Route) -> Session | None:
        """Return the session that a message is sent in, None where it is sent in none; raises UnknownSession."""
        sealed = request.headers.get(SESSION)
        if sealed is None or route.era is Era.MODERN or route.action is Action.INITIALIZE:
            return None
        return self.sessions.find(caller, sealed)

    def _rejected(self, rejection: Rejection, caller: Caller) -> Reply:
        self.gate.refusals.malformed(caller.request, rejection.message, caller.principal)
        return rejected(rejection)

    def _without_session(self, message: envelope.Message, caller: Caller) -> Reply:
        self._noted(caller)
        return no_session(message.id if isinstance(message, Request) else None)

    def _noted(self, caller: Caller) -> None:
        self.gate.refusals.malformed(caller.request, "no such session", caller.principal)

    async def _heard(
        self, door: Door, caller: Caller, session: Session | None, message: Notification | Response
    ) -> Reply:
        """Accept what wants no answer; what answers nothing that this session was asked is dropped, and said so."""
        if isinstance(message, Response):
            if session is None or not await self.sessions.answered(door, caller, session, message):
                self.gate.refusals.malformed(caller.request, "an answer to nothing that was asked", caller.principal)
        elif session is not None:
            self.sessions.told(caller, session, message)
        return accepted()

    async def initialize(self, asking: Asking) -> Reply:
        """Shake hands, and open a session."""
        return self.sessions.open(asking.caller, asking.message)

    async def discover(self, asking: Asking) -> Reply:
        """Say what is served."""
        return answer(results.discover(asking.message.id))

    async def ping(self, asking: Asking) -> Reply:
        """Answer a ping."""
        return answer(results.empty(asking.message.id))

    async def set_level(self, asking: Asking) -> Reply:
        """Note the level of log messages that a session wants; without one there is nowhere to note it."""
        id_, level = asking.message.id, asking.message.params.get("level")
        if not is_level(level):
            return failed(id_, 200, INVALID_PARAMS, "params.level is not a level")
        if asking.session is None:
            return failed(id_, 200, INVALID_REQUEST, "logging/setLevel needs the session that initialize opened")
        self.sessions.set_level(asking.session, str(level))
        return answer(results.empty(id_))

    async def listing(self, asking: Asking) -> Reply:
        """List exactly what policy shows, on one page."""
        method = asking.message.method
        found = await asking.door.pep.listing(asking.caller, method)
        return answer(*results.listed(asking.message.id, asking.route.era, method, found))

    async def subscribe(self, asking: Asking) -> Reply:
        """Note that a session wants to hear of a resource, or no more; without a session there is nobody to tell."""
        id_, uri = asking.message.id, asking.message.params.get("uri")
        if not isinstance(uri, str):
            return failed(id_, 200, INVALID_PARAMS, "params.uri must be a string")
        if asking.session is None:
            return failed(id_, 200, INVALID_REQUEST, "a subscription needs the session that initialize opened")
        if asking.route.action is Action.SUBSCRIBE:
            await self.sessions.subscribe(asking.door, asking.caller, asking.session, uri)
        else:
            self.sessions.unsubscribe(asking.session, uri)
        return answer(results.empty(id_))

    async def call(self, asking: Asking) -> Answer:
        """Ask one named thing."""
        agent = self._agent(asking)
        return await self.calls.answer(asking.request, asking.door, asking.caller, agent, asking.message)

    async def listen(self, asking: Asking) -> Answer:
        """Tell an agent of changes for as long as it listens."""
        return await self.subscriptions.listen(asking.request, asking.door, asking.caller, asking.message)

    def _agent(self, asking: Asking) -> Agent:
        if asking.session is not None:
            return self.sessions.agent(asking.session)
        route, meta = asking.route, asking.message.meta
        if route.era is Era.LEGACY:
            return Agent(route.era, route.version)
        return Agent(route.era, route.version, relayed(meta[META_CAPABILITIES]), None, meta.get(META_LOG_LEVEL))


ANSWERS: Mapping[Action, Callable[[Mcp, Asking], Coroutine[Any, Any, Answer]]] = {
    Action.INITIALIZE: Mcp.initialize,
    Action.DISCOVER: Mcp.discover,
    Action.PING: Mcp.ping,
    Action.SET_LEVEL: Mcp.set_level,
    Action.LISTEN: Mcp.listen,
    Action.SUBSCRIBE: Mcp.subscribe,
    Action.UNSUBSCRIBE: Mcp.subscribe,
    Action.LIST: Mcp.listing,
    Action.CALL: Mcp.call,
}


def viewed(request: web.Request) -> dict[str, Any]:
    """Return what the path says of the view: one server alone, or all under flat names."""
    server = request.match_info.get("server")
    if server is None:
        return {}
    if not SERVER_ID.fullmatch(server):
        raise web.HTTPNotFound
    return {"view": View.SERVER, "server": server}
