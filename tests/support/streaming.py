"""Agents that read streams: each answer as it comes, event by event, in whatever way their era has it."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import aiohttp

from gateway.mcp.sse import Event, Events
from tests.support.agents import headers, message
from tests.support.gateway import MODERN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

BOTH = "application/json, text/event-stream"
SECONDS = 20
CAN = {"sampling": {}, "elicitation": {"form": {}, "url": {}}, "roots": {"listChanged": True}}


@dataclass
class Answer:
    """One HTTP answer being read; of a stream, event by event."""

    response: aiohttp.ClientResponse
    events: list[Event] = field(default_factory=list)
    _reader: Events = field(default_factory=lambda: Events(64 * 1024 * 1024))
    _waiting: list[Event] = field(default_factory=list)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.response.status

    @property
    def is_stream(self) -> bool:
        """Whether it is a stream of events."""
        return self.response.content_type == "text/event-stream"

    async def event(self) -> Event | None:
        """Return the next event, None at the end of the stream."""
        async with asyncio.timeout(SECONDS):
            while not self._waiting:
                chunk = await self.response.content.readany()
                if not chunk:
                    return None
                self._waiting += self._reader.feed(chunk)
        event = self._waiting.pop(0)
        self.events.append(event)
        return event

    def seen(self) -> list[Event]:
        """Return every event that has arrived, those included that nobody has asked for."""
        chunk = self.response.content.read_nowait()
        self._waiting += self._reader.feed(chunk) if chunk else []
        return [*self.events, *self._waiting]

    async def next(self) -> Any:
        """Return the next message, None at the end of the stream; events that say nothing are passed over."""
        while (event := await self.event()) is not None:
            if event.data:
                return json.loads(event.data)
        return None

    async def rest(self) -> list[Any]:
        """Return every message that is still to come."""
        found = []
        while (one := await self.next()) is not None:
            found.append(one)
        return found

    async def json(self) -> Any:
        """Return the body of an answer that is no stream."""
        async with asyncio.timeout(SECONDS):
            return json.loads(await self.response.read())


@dataclass
class StreamingAgent:
    """An agent of one revision at one gateway; in a session after `open`."""

    url: str
    credential: Mapping[str, str]
    version: str = MODERN
    capabilities: dict[str, Any] = field(default_factory=dict)
    accept: str = BOTH
    path: str = "/mcp"
    session: str | None = None
    http: aiohttp.ClientSession = field(init=False)
    ids: Any = field(default_factory=lambda: count(1))

    async def __aenter__(self) -> StreamingAgent:
        timeout = aiohttp.ClientTimeout(total=None, sock_read=SECONDS * 2)
        connector = aiohttp.TCPConnector(limit=0)
        self.http = aiohttp.ClientSession(timeout=timeout, connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()

    async def open(self) -> str:
        """Shake hands and return the session."""
        hello = {"protocolVersion": self.version, "capabilities": self.capabilities, "clientInfo": {"name": "a"}}
        body = {"jsonrpc": "2.0", "id": next(self.ids), "method": "initialize", "params": hello}
        async with self._post(body, {"Accept": self.accept}) as answer:
            self.session = answer.response.headers["Mcp-Session-Id"]
            await answer.response.read()
        await self.tell("notifications/initialized")
        return self.session

    @asynccontextmanager
    async def call(self, name: str, arguments: Any = None, *, id_: Any = None, **params: Any) -> AsyncIterator[Answer]:
        """Call a tool and read the answer as it comes; leaving the block hangs up."""
        sent = {"name": name, "arguments": arguments or {}, **params}
        async with self.ask("tools/call", sent, id_=id_) as answer:
            yield answer

    @asynccontextmanager
    async def ask(self, method: str, params: Any = None, *, id_: Any = None) -> AsyncIterator[Answer]:
        """Ask anything."""
        sent = dict(params or {})
        if self.version == MODERN:
            declared = {"io.modelcontextprotocol/clientCapabilities": self.capabilities}
            sent["_meta"] = declared | sent.get("_meta", {})
        body = message(self.version, method, sent, next(self.ids) if id_ is None else id_)
        lines = {name.replace("_", "-"): value for name, value in headers(self.version, method, sent).items()}
        async with self._post(body, lines | {"Accept": self.accept}) as answer:
            yield answer

    async def result(self, name: str, arguments: Any = None, **params: Any) -> Any:
        """Call a tool and return the last message."""
        async with self.call(name, arguments, **params) as answer:
            return (await answer.rest())[-1] if answer.is_stream else await answer.json()

    async def tell(self, method: str, **params: Any) -> int:
        """Post a notification and return the status."""
        return await self.post({"jsonrpc": "2.0", "method": method, "params": params})

    async def reply(self, id_: Any, **answer: Any) -> int:
        """Post an answer to what a server asked, and return the status."""
        return await self.post({"jsonrpc": "2.0", "id": id_, **answer})

    async def post(self, body: Any) -> int:
        """Post any message and return the status."""
        async with self._post(body, {"Accept": self.accept, "MCP-Protocol-Version": self.version}) as answer:
            await answer.response.read()
            return answer.status

    @asynccontextmanager
    async def listen(self, last: bytes | None = None, **lines: str) -> AsyncIterator[Answer]:
        """Open the session's stream, or take one up again after the event of that id."""
        sent = {"Accept": "text/event-stream", "MCP-Protocol-Version": self.version, **self._lines(), **lines}
        if last is not None:
            sent["Last-Event-ID"] = last.decode()
        async with self.http.get(self.url + self.path, headers=sent) as response:
            yield Answer(response)

    async def delete(self) -> int:
        """End the session and return the status."""
        async with self.http.delete(self.url + self.path, headers=self._lines()) as response:
            return response.status

    @asynccontextmanager
    async def _post(self, body: Any, lines: Mapping[str, str]) -> AsyncIterator[Answer]:
        sent = {"Content-Type": "application/json", **lines, **self._lines()}
        async with self.http.post(self.url + self.path, data=json.dumps(body).encode(), headers=sent) as response:
            yield Answer(response)

    def _lines(self) -> dict[str, str]:
        return {**self.credential, **({"Mcp-Session-Id": self.session} if self.session else {})}
