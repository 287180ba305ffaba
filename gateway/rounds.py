"""Calls that need several rounds: a server answers that it wants input, and is asked again with it (SEP-2322).

The state that a server hands out for its next round passes through the agent, and the server sees no agent, only this
gateway. So the state is sealed on its way, and opens for nobody else, and for no other call (A41).
"""

from __future__ import annotations

import hashlib
import json as stdlib_json
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw, UnsetType

from gateway.errors import StateRefused, UpstreamFailed
from gateway.mcp import json
from gateway.mcp.answers import Answer
from gateway.mcp.capabilities import can
from gateway.mcp.errors import URL_ELICITATION_REQUIRED
from gateway.seals import BrokenSeal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.ids import Ref
    from gateway.mcp.agent import Agent
    from gateway.mcp.named import Asked
    from gateway.model import Principal
    from gateway.seals import Seals

PURPOSE = "state"
# A person may have to be found first; after that the agent begins anew.
STATE_SECONDS = 900
MAX_STATE_BYTES = 256 * 1024
MAX_ROUNDS = 10
MAX_INPUTS = 64
# The requests whose answer may be that input is wanted (2026-07-28, patterns/mrtr).
METHODS = frozenset({"tools/call", "prompts/get", "resources/read"})

_INPUT_REQUIRED = b'"input_required"'


class Input(NamedTuple):
    """One thing that a server wants to know; `params` is JSON text."""

    method: str
    params: bytes | None


class _Elicitation(msgspec.Struct):
    url: Raw
    message: Raw


class _Elicitations(msgspec.Struct):
    elicitations: list[_Elicitation]


class _Request(msgspec.Struct):
    method: str
    params: Raw | UnsetType = UNSET


class States:
    """Seals the states of servers and opens them again; `clock` is in seconds since the epoch."""

    def __init__(self, seals: Seals, *, clock: Callable[[], float] = time.time) -> None:
        self._seals = seals
        self._clock = clock

    def sealed(self, server: str, answer: Answer, bound_to: bytes) -> Answer:
        """Return an answer with its state, if there is one, sealed for just this call; raises UpstreamFailed."""
        state = state_of(server, answer)
        if state is None:
            return answer
        expires_at = self._clock() + STATE_SECONDS
        text = self._seals.seal(PURPOSE, state.encode(), bound_to=bound_to, expires_at=expires_at)
        return Answer({**answer.result, "requestState": Raw(json.encode(text))})

    def opened(self, state: str, bound_to: bytes) -> str:
        """Return what a server handed out for this call; raises StateRefused for anything else."""
        try:
            return self._seals.unseal(PURPOSE, state, bound_to=bound_to).decode()
        except BrokenSeal as error:
            raise StateRefused(str(error)) from None


def binding(principal: Principal, ref: Ref, asked: Asked) -> bytes:
    """Return what a state is bound to: who calls what, where, with which arguments."""
    # In one order, for an agent may write the same object in another.
    text = stdlib_json.dumps(asked.arguments, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return json.encode([*principal.identity, asked.method, str(ref), asked.name, digest])


def wants_input(answer: Answer) -> bool:
    """Whether this is not the end: the server wants something first."""
    kind = answer.result.get("resultType")
    return kind is not None and bytes(kind) == _INPUT_REQUIRED


def state_of(server: str, answer: Answer) -> str | None:
    """Return the state that a server hands out, None where it does not; raises UpstreamFailed."""
    raw = answer.result.get("requestState")
    if raw is None:
        return None
    if len(memoryview(raw)) > MAX_STATE_BYTES:
        raise UpstreamFailed(server, "hands out a state that is too large")
    try:
        return msgspec.json.decode(raw, type=str)
    except msgspec.MsgspecError:
        raise UpstreamFailed(server, "hands out a state that is no text") from None


def inputs(server: str, answer: Answer, agent: Agent) -> Mapping[str, Input]:
    """Return what a server wants, by its own keys; raises UpstreamFailed for what this agent never said it can."""
    raw = answer.result.get("inputRequests")
    try:
        requests = {} if raw is None else msgspec.json.decode(raw, type=dict[str, _Request])
        found = {key: Input(one.method, _text(one.params)) for key, one in requests.items()}
        askable = all(can(agent.capabilities, one.method, _mode(one.params)) for one in found.values())
    except msgspec.MsgspecError:
        raise UpstreamFailed(server, "asks for input in a way that cannot be read") from None
    if (not found and "requestState" not in answer.result) or len(found) > MAX_INPUTS:
        raise UpstreamFailed(server, "asks for input in a way that cannot be read")
    if not askable:
        raise UpstreamFailed(server, "asks for input that cannot be asked for through this gateway")
    return found


def as_input(answer: Answer, agent: Agent) -> Answer:
    """Return an older server's error, that somebody has to open a URL first, as 2026-07-28 says the same."""
    error = answer.error
    if error is None or error.code != URL_ELICITATION_REQUIRED or error.data is None:
        return answer
    if not can(agent.capabilities, "elicitation/create", {"mode": "url"}):
        return answer
    try:
        wanted = msgspec.json.decode(error.data, type=_Elicitations).elicitations
    except msgspec.MsgspecError:
        return answer
    requests = {
        f"elicitation-{number}": {
            "method": "elicitation/create",
            "params": {"mode": "url", "url": one.url, "message": one.message},
        }
        for number, one in enumerate(wanted, 1)
    }
    return Answer({"resultType": Raw(_INPUT_REQUIRED), "inputRequests": Raw(msgspec.json.encode(requests))})


def _text(params: Raw | UnsetType) -> bytes | None:
    return None if params is UNSET else bytes(params)


def _mode(params: bytes | None) -> Any:
    return None if params is None else {"mode": msgspec.json.decode(params, type=_Mode).mode}


class _Mode(msgspec.Struct):
    mode: str = "form"
