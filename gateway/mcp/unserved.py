"""What the protocol knows and this gateway does not serve, and what becomes of messages that are not requests.

With `eras.METHODS` these tables place every method and notification of every revision that is spoken here; a test
compares them with the protocol's schemas. Whoever begins to serve one moves it, or says what becomes of it now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.mcp.eras import Era

if TYPE_CHECKING:
    from collections.abc import Mapping

Placed = tuple[frozenset[Era], str]

_BOTH = frozenset(Era)
_LEGACY = frozenset({Era.LEGACY})
_MODERN = frozenset({Era.MODERN})

_NO_TASKS = "calls are answered by results, not by tasks, and no task is known here"

# Requests of agents that are answered -32601, by era.
REFUSED: Mapping[str, Placed] = {
    "tasks/get": (_BOTH, _NO_TASKS),
    "tasks/cancel": (_BOTH, _NO_TASKS),
    "tasks/list": (_LEGACY, _NO_TASKS),
    "tasks/result": (_LEGACY, _NO_TASKS),
    "tasks/update": (_MODERN, _NO_TASKS),
}

# Notifications of agents: all are accepted, and this is what becomes of them.
FROM_AGENTS: Mapping[str, Placed] = {
    "notifications/initialized": (_LEGACY, "dropped: a session is good from the moment that it is opened"),
    "notifications/cancelled": (_BOTH, "ends a call of the same session; agents of the modern era hang up instead"),
    "notifications/progress": (_LEGACY, "dropped: servers are not told that they may follow what they asked for"),
    "notifications/roots/list_changed": (_LEGACY, "passed on to the servers that this session has a session with"),
    "notifications/tasks/status": (_LEGACY, "dropped: agents are given no tasks"),
}

_CHANGED = "the server is listed again, and whoever sees something of it is told so"
_ASKED = "passed on to an agent that has declared it: on the stream of its call, or within the result"

# Requests and notifications of servers, among them what they ask for within a result (2026-07-28, patterns/mrtr).
FROM_SERVERS: Mapping[str, Placed] = {
    "ping": (_LEGACY, "answered"),
    "sampling/createMessage": (_BOTH, _ASKED),
    "elicitation/create": (_BOTH, _ASKED),
    "roots/list": (_BOTH, _ASKED),
    "tasks/get": (_LEGACY, "refused: this client runs no tasks"),
    "tasks/cancel": (_LEGACY, "refused: this client runs no tasks"),
    "tasks/list": (_LEGACY, "refused: this client runs no tasks"),
    "tasks/result": (_LEGACY, "refused: this client runs no tasks"),
    "notifications/cancelled": (_BOTH, "takes back what the server asked the agent"),
    "notifications/progress": (_BOTH, "passed on under the agent's own token, if it sent one"),
    "notifications/message": (_BOTH, "passed on at or above the level that the agent asked for"),
    "notifications/tools/list_changed": (_BOTH, _CHANGED),
    "notifications/prompts/list_changed": (_BOTH, _CHANGED),
    "notifications/resources/list_changed": (_BOTH, _CHANGED),
    "notifications/resources/updated": (_BOTH, "passed on to whoever has subscribed to the resource and may read it"),
    "notifications/subscriptions/acknowledged": (_MODERN, "dropped: what comes is listened to"),
    "notifications/elicitation/complete": (_LEGACY, "passed on to an agent that can elicit by URL"),
    "notifications/tasks/status": (_LEGACY, "dropped: servers are asked for no tasks"),
}
