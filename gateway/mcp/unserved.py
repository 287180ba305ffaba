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

_NO_PROMPTS = "prompts are not offered"
_NO_RESOURCES = "resources are not offered"
_NO_TASKS = "calls are answered by results, not by tasks, and no task is known here"

# Requests of agents that are answered -32601, by era.
REFUSED: Mapping[str, Placed] = {
    "prompts/list": (_BOTH, _NO_PROMPTS),
    "prompts/get": (_BOTH, _NO_PROMPTS),
    "resources/list": (_BOTH, _NO_RESOURCES),
    "resources/templates/list": (_BOTH, _NO_RESOURCES),
    "resources/read": (_BOTH, _NO_RESOURCES),
    "resources/subscribe": (_LEGACY, _NO_RESOURCES),
    "resources/unsubscribe": (_LEGACY, _NO_RESOURCES),
    "completion/complete": (_BOTH, "what it would complete, prompts and resources, is not offered"),
    "logging/setLevel": (_LEGACY, "log messages of servers are not passed on"),
    "subscriptions/listen": (_MODERN, "changes are not announced"),
    "tasks/get": (_BOTH, _NO_TASKS),
    "tasks/cancel": (_BOTH, _NO_TASKS),
    "tasks/list": (_LEGACY, _NO_TASKS),
    "tasks/result": (_LEGACY, _NO_TASKS),
    "tasks/update": (_MODERN, _NO_TASKS),
}

# Notifications of agents: all are accepted, and this is what becomes of them.
FROM_AGENTS: Mapping[str, Placed] = {
    "notifications/initialized": (_LEGACY, "dropped: there is no session that it would complete"),
    "notifications/cancelled": (_BOTH, "dropped: an agent of the modern era hangs up, and legacy calls go on"),
    "notifications/progress": (_LEGACY, "dropped: agents are asked nothing that they could report progress of"),
    "notifications/roots/list_changed": (_LEGACY, "dropped: agents are not asked for roots"),
    "notifications/tasks/status": (_LEGACY, "dropped: agents are given no tasks"),
}

# Requests and notifications of servers, among them what they ask for within a result (2026-07-28, patterns/mrtr).
FROM_SERVERS: Mapping[str, Placed] = {
    "ping": (_LEGACY, "answered"),
    "sampling/createMessage": (_BOTH, "refused: servers are told that this client cannot sample"),
    "elicitation/create": (_BOTH, "refused: servers are told that this client cannot elicit"),
    "roots/list": (_BOTH, "refused: servers are told that this client has no roots"),
    "tasks/get": (_LEGACY, "refused: this client runs no tasks"),
    "tasks/cancel": (_LEGACY, "refused: this client runs no tasks"),
    "tasks/list": (_LEGACY, "refused: this client runs no tasks"),
    "tasks/result": (_LEGACY, "refused: this client runs no tasks"),
    "notifications/cancelled": (_BOTH, "dropped"),
    "notifications/progress": (_BOTH, "dropped: servers are not asked to report progress"),
    "notifications/message": (_BOTH, "dropped: log messages of servers are not passed on"),
    "notifications/tools/list_changed": (_BOTH, "dropped: tools are listed each minute"),
    "notifications/prompts/list_changed": (_BOTH, "dropped: prompts are not offered"),
    "notifications/resources/list_changed": (_BOTH, "dropped: resources are not offered"),
    "notifications/resources/updated": (_BOTH, "dropped: nothing is subscribed to"),
    "notifications/subscriptions/acknowledged": (_MODERN, "dropped: nothing is subscribed to"),
    "notifications/elicitation/complete": (_LEGACY, "dropped: nothing is elicited"),
    "notifications/tasks/status": (_LEGACY, "dropped: servers are asked for no tasks"),
}
