"""Which era a server speaks: asked once with `server/discover`, else by the older handshake (basic/versioning)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.errors import UpstreamFailed
from gateway.ids import Kind
from gateway.mcp.eras import MODERN_VERSIONS
from gateway.mcp.errors import HEADER_MISMATCH, MISSING_CLIENT_CAPABILITY, UNSUPPORTED_VERSION
from gateway.mcp.sections import CAPABILITIES
from gateway.upstream import outgoing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.mcp.agent import Agent
    from gateway.mcp.answers import Answer
    from gateway.upstream.call import Call
    from gateway.upstream.peer import Peer
    from gateway.upstream.stream import Reply

# 2024-11-05 has no streamable HTTP, and servers that offer nothing newer over it were seen to work all the same.
HANDSHAKE_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
_MODERN = MODERN_VERSIONS[0]
CHANGES = "listChanged"
# A process may take longer to start; whether it answered late is seen at what it says to the handshake.
SILENCE_SECONDS = 10.0
# The headers that name the caller, of requests of the gateway's own.
OWN: Mapping[str, str] = MappingProxyType({})
# What HTTP says where nobody knows what `initialize` is; the others are of this moment, or of whoever asks.
_UNKNOWN_STATUS = frozenset({400, 404, 405, 406, 415, 422})


@dataclass(frozen=True, slots=True)
class Declared:
    """What a server says that it can: which kinds it `has`, and of which it `announces` that they have changed.

    `subscribes` says whether it tells when a resource that was named to it has changed.
    """

    has: frozenset[Kind] = frozenset({Kind.TOOL})
    announces: frozenset[Kind] = frozenset()
    subscribes: bool = False

    @classmethod
    def of(cls, capabilities: Any) -> Declared:
        """Return what the capabilities of a server say; one that declares nothing at all may have tools."""
        found = _objects(capabilities)
        has = frozenset(kind for name, kind in CAPABILITIES.items() if name in found)
        announces = frozenset(kind for name, kind in CAPABILITIES.items() if found.get(name, {}).get(CHANGES) is True)
        return cls(has or cls().has, announces, found.get("resources", {}).get("subscribe") is True)


NOTHING = Declared()


@dataclass(frozen=True, slots=True)
class Modern:
    """The server takes each request on its own."""

    version: str
    declared: Declared = NOTHING


@dataclass(frozen=True, slots=True)
class Legacy:
    """The server wants a handshake; `session` is what it calls this one, None if it keeps no sessions.

    `logs` says whether it can be told which log messages to send. `naming` are the headers that say whose it is, from
    the handshake to the goodbye; the gateway's own has none.
    """

    version: str
    session: str | None
    logs: bool = False
    declared: Declared = NOTHING
    naming: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a request after the handshake."""
        return {**self.naming, **outgoing.legacy_headers(self.version, self.session)}


class NoHandshake(UpstreamFailed):
    """The server knows no handshake, which a server of the modern era need not."""


async def probe(server: str, peer: Peer, ids: Iterator[int]) -> Modern | Legacy:
    """Return the era of a server, for older ones with a handshake done; raises UpstreamFailed without a verdict."""
    answer = await _discovered(peer, ids)
    if answer is not None and _is_modern(server, answer):
        return Modern(_MODERN, Declared.of(_member(answer, "capabilities")))
    reply = await _initialized(peer, ids)
    if reply.error_code == UNSUPPORTED_VERSION and _is_modern(server, require_answer(server, reply)):
        # It has taken the probe after all, which we did not wait for, and is modern from then on.
        answer = await _discovered(peer, ids)
        return Modern(_MODERN, Declared.of(_member(answer, "capabilities") if answer else None))
    return await _shaken(server, peer, reply)


async def handshake(server: str, peer: Peer, ids: Iterator[int], call: Call | None = None) -> Legacy:
    """Return a new session of an older server, for a call or for the gateway itself.

    Raises UpstreamFailed, NoHandshake where the server refuses as a whole.
    """
    agent, naming = (call.agent, call.naming) if call else (None, OWN)
    return await _shaken(server, peer, await _initialized(peer, ids, agent, naming), naming)


async def _discovered(peer: Peer, ids: Iterator[int]) -> Answer | None:
    """Return what a server says to the probe; None where that is nothing, and nothing says something."""
    id_ = next(ids)
    body = outgoing.request(id_, "server/discover", {"_meta": outgoing.modern_meta(_MODERN, {})})
    headers = outgoing.modern_headers(_MODERN, "server/discover")
    if not peer.silence_means_older:
        return (await peer.ask(id_, body, headers)).answer
    try:
        async with asyncio.timeout(SILENCE_SECONDS):
            return (await peer.ask(id_, body, headers)).answer
    except TimeoutError:
        return None


async def _initialized(
    peer: Peer, ids: Iterator[int], agent: Agent | None = None, naming: Mapping[str, str] = OWN
) -> Reply:
    id_ = next(ids)
    return await peer.ask(id_, outgoing.request(id_, "initialize", outgoing.handshake_params(agent)), naming)


async def _shaken(server: str, peer: Peer, reply: Reply, naming: Mapping[str, str] = OWN) -> Legacy:
    answer = _agreed(server, reply)
    version = _member(answer, "protocolVersion")
    if version not in HANDSHAKE_VERSIONS:
        raise NoHandshake(server, "speaks no version of MCP that this gateway speaks")
    capabilities = _member(answer, "capabilities")
    logs = isinstance(capabilities, dict) and "logging" in capabilities
    legacy = Legacy(version, reply.session, logs, Declared.of(capabilities), naming)
    await peer.tell(outgoing.notification("notifications/initialized"), legacy.headers)
    return legacy


def _agreed(server: str, reply: Reply) -> Answer:
    refused = reply.status in _UNKNOWN_STATUS if reply.answer is None else reply.answer.error is not None
    try:
        return require_result(server, reply)
    except UpstreamFailed as error:
        raise (NoHandshake(server, error.why) if refused else error) from None


def require_answer(server: str, reply: Reply) -> Answer:
    """Return the JSON-RPC answer of a reply; raises UpstreamFailed where HTTP says that there is none."""
    if reply.answer is None or reply.status in (401, 403, 407):
        raise UpstreamFailed(server, f"answered HTTP {reply.status}")
    return reply.answer


def require_result(server: str, reply: Reply) -> Answer:
    """Return the successful answer of a reply; raises UpstreamFailed."""
    answer = require_answer(server, reply)
    if answer.error is not None:
        raise UpstreamFailed(server, f"answered error {answer.error.code}")
    return answer


def _is_modern(server: str, answer: Answer) -> bool:
    if answer.error is None:
        return _MODERN in _versions(_member(answer, "supportedVersions"))
    if answer.error.code != UNSUPPORTED_VERSION:
        return answer.error.code in (HEADER_MISMATCH, MISSING_CLIENT_CAPABILITY)
    data = _decoded(answer.error.data)
    offered = _versions(data.get("supported") if isinstance(data, dict) else None)
    if offered and not offered & {_MODERN, *HANDSHAKE_VERSIONS}:
        raise UpstreamFailed(server, "speaks no version of MCP that this gateway speaks")
    return _MODERN in offered


def _objects(value: Any) -> dict[str, dict[str, Any]]:
    return {name: one for name, one in value.items() if isinstance(one, dict)} if isinstance(value, dict) else {}


def _member(answer: Answer, name: str) -> Any:
    return _decoded(answer.result.get(name))


def _decoded(raw: Any) -> Any:
    try:
        return None if raw is None else msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        return None


def _versions(value: Any) -> set[str]:
    return {version for version in value if isinstance(version, str)} if isinstance(value, list) else set()
