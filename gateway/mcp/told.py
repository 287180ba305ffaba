"""What servers say before they answer, as an agent is told it: under its own ids, and only what it asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from gateway.mcp import json
from gateway.mcp.levels import LEVELS, reaches
from gateway.mcp.results import third_party

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.mcp.agent import Agent
    from gateway.mcp.answers import ServerRequest

PROGRESS = "notifications/progress"
MESSAGE = "notifications/message"
ELICITED = "notifications/elicitation/complete"

_MEMBERS = msgspec.json.Decoder(dict[str, Raw])
# The JSON texts of the levels that reach each of them.
_REACHING: Mapping[str, frozenset[bytes]] = {
    threshold: frozenset(b'"%b"' % level.encode() for level in LEVELS if reaches(level, threshold))
    for threshold in LEVELS
}


class Filter:
    """Which of a server's notifications one agent hears during one call, and how they read to it."""

    def __init__(self, agent: Agent, token: tuple[str | int, int] | None) -> None:
        """`token` is the agent's token for progress, and the one that the server was given in its place."""
        self._passes: dict[str, Callable[[ServerRequest], bytes | None]] = {}
        if token is not None:
            self._token, self._ours = Raw(json.encode(token[0])), b"%d" % token[1]
            self._passes[PROGRESS] = self._progress
        if (threshold := agent.threshold) is not None:
            self._levels = _REACHING[threshold]
            self._passes[MESSAGE] = self._message
        if agent.session is not None and "url" in agent.capabilities.get("elicitation", {}):
            self._passes[ELICITED] = _as_it_is

    def passed(self, message: ServerRequest) -> bytes | None:
        """Return a notification as the agent is told it, None where it is not."""
        passes = self._passes.get(message.method)
        return passes(message) if passes is not None else None

    def _progress(self, message: ServerRequest) -> bytes | None:
        params = params_of(message)
        token = params.get("progressToken")
        if token is None or bytes(token) != self._ours:
            return None
        params["progressToken"] = self._token
        return notification(PROGRESS, params)

    def _message(self, message: ServerRequest) -> bytes | None:
        params = params_of(message)
        level = params.get("level")
        return notification(MESSAGE, params) if level is not None and bytes(level) in self._levels else None


def _as_it_is(message: ServerRequest) -> bytes | None:
    return notification(message.method, params_of(message))


def params_of(message: ServerRequest) -> dict[str, Raw]:
    """Return a message's parameters without what is not the server's to set; none where they are malformed."""
    if message.params is None:
        return {}
    try:
        params = _MEMBERS.decode(message.params)
    except msgspec.MsgspecError:
        return {}
    if "_meta" in params:
        # The agent has no way to report progress to a server.
        theirs = third_party(params.pop("_meta"))
        theirs.pop("progressToken", None)
        if theirs:
            params["_meta"] = Raw(msgspec.json.encode(theirs))
    return params


def text_of(raw: Raw | None) -> str:
    """Return the text that a member is, empty where it is none."""
    try:
        return msgspec.json.decode(raw or b'""', type=str)
    except msgspec.MsgspecError:
        return ""


def notification(method: str, params: Mapping[str, Raw]) -> bytes:
    """Return a notification."""
    return b'{"jsonrpc":"2.0","method":"%b","params":%b}' % (method.encode(), msgspec.json.encode(params))


def request(id_: str, method: str, params: bytes | None) -> bytes:
    """Return a request; `params` is JSON text."""
    head = b'{"jsonrpc":"2.0","id":%b,"method":%b' % (json.encode(id_), json.encode(method))
    return head + (b"}" if params is None else b',"params":%b}' % params)


def answer(id_: bytes, answered: Mapping[str, Any]) -> bytes:
    """Return an answer, which has either `result` or `error`, to the server's own id as JSON text."""
    return b'{"jsonrpc":"2.0","id":%b,%b' % (id_, json.encode(answered)[1:])


def cancelled(id_: str) -> bytes:
    """Return the notification that takes a request back."""
    return json.encode({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id_}})
