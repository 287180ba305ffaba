"""A question as the input document that policy reads (docs/policy.md)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import orjson

from gateway.errors import DecisionUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.model import CredentialRef, Mode, Principal, Question

LIST = "tools/list"
CALL = "tools/call"
MAX_GROUPS = 100
MAX_NAME = 256
MAX_CLIENT_MEMBERS = 8
MAX_CLIENT_TEXT = 128


def encode(question: Question, mode: Mode, *, arguments: bool, max_arguments_bytes: int) -> bytes:
    """Return `{"input": …}`; a call's arguments are in it only where `arguments` says that custom policy exists.

    Raises DecisionUnavailable for what JSON cannot carry exactly (NaN, infinities, lone surrogates).
    """
    request = question.request
    document = {
        "v": 1,
        "action": question.action,
        "mode": mode,
        "view": question.view,
        "principal": _principal(question.principal),
        "target": _target(question, max_arguments_bytes if arguments else None),
        "request": {"id": request.id, "ip": request.ip, "time": request.time},
        "untrusted": {"client": _client(question.client)},
    }
    try:
        return orjson.dumps({"input": document})
    except (TypeError, ValueError) as error:
        raise DecisionUnavailable("the question cannot be written as JSON") from error


def lane(question: Question) -> str:
    """Return whose turn a question takes: its tenant's, else its caller's, else its address's."""
    principal = question.principal
    if principal.tenant is not None:
        return f"tenant {principal.tenant}"
    if principal.credential is None:
        return f"ip {question.request.ip}"
    # Neither an issuer nor a tenant holds a blank, so nobody's subject can pass for somebody else's.
    return f"{principal.issuer or ''} {principal.acting_for or ''} {principal.subject}"


def _principal(principal: Principal) -> dict[str, Any]:
    return {
        "subject": principal.subject,
        "kind": principal.kind,
        "issuer": principal.issuer,
        "tenant": principal.tenant,
        "groups": principal.groups[:MAX_GROUPS],
        "scopes": principal.scopes,
        "credential": _credential(principal.credential),
        "acting_for": principal.acting_for,
    }


def _credential(credential: CredentialRef | None) -> dict[str, Any] | None:
    if credential is None:
        return None
    return {
        "id": credential.id,
        "role": credential.role,
        "scope": credential.scope,
        "expires_at": credential.expires_at,
    }


def _target(question: Question, arguments_limit: int | None) -> dict[str, Any]:
    target: dict[str, Any] = {"name": _bounded(question.name), "server": _bounded(question.server)}
    if question.action == CALL:
        if arguments_limit is not None:
            target |= _arguments(question.arguments, arguments_limit)
    elif question.action != LIST:
        target["tenant"] = question.tenant
    return target


def _bounded(name: str | None) -> str | None:
    # No tool's name holds an ellipsis, so a cut name cannot become another one.
    return name if name is None or len(name) <= MAX_NAME else f"{name[:MAX_NAME]}…"


def _arguments(arguments: Any, limit: int) -> dict[str, Any]:
    if not isinstance(arguments, dict | None):
        raise DecisionUnavailable("a call's arguments are not an object")
    encoded = _exact(arguments or {})
    return {"arguments": orjson.Fragment(encoded)} if len(encoded) <= limit else {"arguments_omitted": True}


def _exact(value: Any) -> bytes:
    """Encode without loss: integers of any size, and no null in the place of an infinite number."""
    try:
        encoded = orjson.dumps(value)
    except TypeError:  # above 64 bits, where orjson gives up
        return _exact_slowly(value)
    return _exact_slowly(value) if b"null" in encoded else encoded


def _exact_slowly(value: Any) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise DecisionUnavailable("the arguments cannot be written as JSON") from error


def _client(client: Mapping[str, Any]) -> dict[str, Any]:
    """Keep a few short scalars of what the agent says of itself; the rest is no policy's business."""
    kept: dict[str, Any] = {}
    for name, value in client.items():
        if len(kept) == MAX_CLIENT_MEMBERS:
            break
        if isinstance(value, str) and len(name) <= MAX_CLIENT_TEXT:
            kept[name] = value[:MAX_CLIENT_TEXT]
    return kept
