"""One MCP server: which era it speaks, its sessions, its share of what may be under way."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

from gateway.errors import UpstreamFailed
from gateway.mcp.answers import Unusable
from gateway.mcp.errors import HEADER_MISMATCH, UNSUPPORTED_VERSION
from gateway.mcp.params import outgoing as param_headers
from gateway.mcp.tools import page, usable
from gateway.single_flight import SingleFlight
from gateway.upstream import outgoing
from gateway.upstream.era import Legacy, Modern, handshake, probe, require_answer, require_result
from gateway.upstream.sessions import Sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping

    from gateway.mcp.answers import Answer
    from gateway.mcp.params import ParamHeaders
    from gateway.mcp.tools import Tool
    from gateway.model import Principal
    from gateway.upstream.errands import Errands
    from gateway.upstream.peer import Peer
    from gateway.upstream.stream import Reply
    from gateway.upstream.target import Limits

MAX_PAGES = 100
MAX_LISTED_BYTES = 32 * 1024 * 1024
# Every tool is in policy's data for every tenant that is offered it, so one server could otherwise fill everybody's.
MAX_TOOLS = 5000
_GONE = 404


class UpstreamServer:
    """One server; every failure of it is UpstreamFailed, and none of them lasts longer than its timeout."""

    def __init__(self, target: Limits, peer: Peer, errands: Errands, clock: Callable[[], float]) -> None:
        self.target = target
        self.dropped = 0
        self._name = target.server
        self._peer = peer
        self._errands = errands
        self._ids = count(1)
        self._era: Modern | Legacy | None = None
        self._probing = SingleFlight(self._probe)
        self._sessions = Sessions(self._name, self._open, self._leave, clock)
        self._param_headers: Mapping[str, ParamHeaders] = {}
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def open(self, *, older: bool = False) -> Modern | Legacy:
        """Find out which era it speaks before anybody asks; one that is known to be `older` is not asked first."""
        with self._deadline(self.target.start_seconds):
            self._era = await (self._open() if older else self._probing())
            return self._era

    async def list_tools(self) -> tuple[Tool, ...]:
        """Return every usable tool, by name, and count the others in `dropped`."""
        self._sessions.close_idle()
        with self._place(), self._deadline(self.target.timeout_seconds):
            async with asyncio.timeout(self.target.timeout_seconds):
                return await self._listed()

    async def call(
        self, tool: str, arguments: Mapping[str, Any] | None, meta: Mapping[str, Any], caller: Principal
    ) -> Answer:
        """Call a tool once; a call that may have been started is never sent again."""
        with self._place(), self._deadline(self.target.timeout_seconds):
            async with asyncio.timeout(self.target.timeout_seconds):
                reply = await self._attempt(tool, arguments, meta, caller.identity)
                if _error_code(reply) == UNSUPPORTED_VERSION:
                    # The server has changed its era, and refused the call for that alone.
                    reply = await self._attempt(tool, arguments, meta, caller.identity)
                answer = require_answer(self._name, reply)
        self._require_complete(answer)
        return answer

    async def close(self, patience: float = 0.0) -> None:
        """Let what is under way finish for up to `patience` seconds, end the sessions, close the connections."""
        try:
            async with asyncio.timeout(patience):
                await self._idle.wait()
        except TimeoutError:
            pass
        await self._probing.close()
        await self._sessions.close()
        if isinstance(self._era, Legacy):
            self._leave(self._era)
        await self._errands.close()
        await self._peer.close()

    async def _attempt(
        self, tool: str, arguments: Mapping[str, Any] | None, meta: Mapping[str, Any], principal: Hashable
    ) -> Reply:
        era = self._era or await self._probing()
        if isinstance(era, Modern):
            reply = await self._call_modern(era, tool, arguments, meta)
        elif era.session is None:
            reply = await self._call_legacy(era, tool, arguments, meta)
        else:
            reply = await self._call_in_session(principal, tool, arguments, meta)
        return self._noted(reply)

    async def _call_modern(
        self, era: Modern, tool: str, arguments: Mapping[str, Any] | None, meta: Mapping[str, Any]
    ) -> Reply:
        params = outgoing.call_params(tool, arguments, outgoing.modern_meta(era.version, meta))
        reply = await self._ask_modern(era, "tools/call", params, tool)
        if reply.status == 400 and _error_code(reply) == HEADER_MISMATCH:
            # The schema that says which arguments go into headers has changed; the server looked no further than
            # the headers, so the call may be sent again.
            await self._listed()
            reply = await self._ask_modern(era, "tools/call", params, tool)
        return reply

    async def _call_in_session(
        self, principal: Hashable, tool: str, arguments: Mapping[str, Any] | None, meta: Mapping[str, Any]
    ) -> Reply:
        with self._sessions.seat(principal) as session_of:
            session = await session_of()
            reply = await self._call_legacy(session, tool, arguments, meta)
            if reply.status == _GONE:
                # The server has forgotten the session, so it has not looked at the call.
                self._sessions.lost(principal, session)
                reply = await self._call_legacy(await session_of(), tool, arguments, meta)
            return reply

    async def _call_legacy(
        self, session: Legacy, tool: str, arguments: Mapping[str, Any] | None, meta: Mapping[str, Any]
    ) -> Reply:
        params = outgoing.call_params(tool, arguments, outgoing.third_party(meta))
        return await self._ask_legacy(session, "tools/call", params)

    async def _ask_modern(self, era: Modern, method: str, params: Mapping[str, Any], tool: str | None = None) -> Reply:
        id_ = next(self._ids)
        headers = outgoing.modern_headers(era.version, method, tool)
        wanted = self._param_headers.get(tool) if tool else None
        if wanted:
            headers.update(param_headers(wanted, params.get("arguments") or {}))
        return await self._peer.ask(id_, outgoing.request(id_, method, params), headers)

    async def _ask_legacy(self, session: Legacy, method: str, params: Mapping[str, Any]) -> Reply:
        id_ = next(self._ids)
        headers = outgoing.legacy_headers(session.version, session.session)
        try:
            return await self._peer.ask(id_, outgoing.request(id_, method, params), headers)
        except asyncio.CancelledError:
            self._peer.abandon(id_, headers)
            raise

    async def _listed(self) -> tuple[Tool, ...]:
        # Beside the loop: thousands of definitions take seconds to check, and nobody else's call waits for them.
        tools, self.dropped = await asyncio.to_thread(usable, await self._definitions())
        self._param_headers = {tool.name: tool.headers for tool in tools if tool.headers}
        return tools

    async def _definitions(self) -> list[bytes]:
        definitions: list[bytes] = []
        cursor, seen, size = None, set[str](), 0
        for _ in range(MAX_PAGES):
            listed = page(await self._list_page(cursor))
            definitions += listed.definitions
            size += sum(map(len, listed.definitions))
            cursor = listed.next_cursor
            if len(definitions) > MAX_TOOLS:
                raise UpstreamFailed(self._name, f"lists more than {MAX_TOOLS} tools")
            if cursor is None:
                return definitions
            if cursor in seen or size > MAX_LISTED_BYTES:
                break
            seen.add(cursor)
        raise UpstreamFailed(self._name, "lists its tools without an end")

    async def _list_page(self, cursor: str | None) -> Answer:
        params: dict[str, Any] = {} if cursor is None else {"cursor": cursor}
        era = self._era or await self._probing()
        if isinstance(era, Modern):
            params["_meta"] = outgoing.modern_meta(era.version, {})
            reply = await self._ask_modern(era, "tools/list", params)
            return require_result(self._name, self._noted(reply))
        reply = await self._ask_legacy(era, "tools/list", params)
        if reply.status == _GONE and era.session is not None:
            era = self._era = await handshake(self._name, self._peer, self._ids)
            reply = await self._ask_legacy(era, "tools/list", params)
        return require_result(self._name, self._noted(reply))

    async def _probe(self) -> Modern | Legacy:
        async with asyncio.timeout(self.target.start_seconds):
            self._era = await probe(self._name, self._peer, self._ids)
        return self._era

    async def _open(self) -> Legacy:
        async with asyncio.timeout(self.target.start_seconds):
            return await handshake(self._name, self._peer, self._ids)

    def _leave(self, session: Legacy) -> None:
        if session.session is not None:
            headers = outgoing.legacy_headers(session.version, session.session)
            self._errands.run(self._peer.leave(headers))

    def _require_complete(self, answer: Answer) -> None:
        kind = answer.result.get("resultType")
        if kind is None or bytes(kind) == b'"complete"':
            return
        if bytes(kind) == b'"input_required"':
            raise UpstreamFailed(self._name, "asks for input that cannot be asked for through this gateway")
        raise UpstreamFailed(self._name, "answered with a kind of result that was not asked for")

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Take one of the places for requests under way, at once or not at all: a queue would hide a slow server."""
        if self._under_way >= self.target.max_concurrent_requests:
            raise UpstreamFailed(self._name, "has too many requests under way")
        self._under_way += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    @contextmanager
    def _deadline(self, seconds: float) -> Iterator[None]:
        """Name the server in what went wrong."""
        try:
            yield
        except TimeoutError as error:
            raise UpstreamFailed(self._name, f"gave no answer within {seconds:g} s") from error
        except Unusable as error:
            raise UpstreamFailed(self._name, str(error)) from error

    def _noted(self, reply: Reply) -> Reply:
        """Forget the era where the server does not understand it any more; the next request asks anew."""
        if (reply.answer is None and 400 <= reply.status < 500) or _error_code(reply) == UNSUPPORTED_VERSION:
            if isinstance(self._era, Legacy):
                self._leave(self._era)
            self._era = None
        return reply


def _error_code(reply: Reply) -> int | None:
    return reply.answer.error.code if reply.answer and reply.answer.error else None
