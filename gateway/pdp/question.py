"""A question as the input document that policy reads (docs/policy.md)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import orjson

from gateway.errors import DecisionUnavailable
from gateway.ids import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.ids import Mode
    from gateway.model import CredentialRef, Principal, Question

LIST = "tools/list"
CALL = "tools/call"
# What each action is about. A completion may be of a prompt or of a resource, so whoever asks says which.
KINDS: Mapping[str, Kind] = {
    LIST: Kind.TOOL,
    CALL: Kind.TOOL,
    "prompts/list": Kind.PROMPT,
    "prompts/get": Kind.PROMPT,
    "resources/list": Kind.RESOURCE,
    "resources/templates/list": Kind.RESOURCE,
    "resources/read": Kind.RESOURCE,
    "resources/subscribe": Kind.RESOURCE,
}
LISTS = frozenset(("tools/list", "prompts/list", "resources/list", "resources/templates/list"))
READS = frozenset(("resources/read", "resources/subscribe"))
MAX_GROUPS = 100
MAX_NAME = 256
MAX_URI = 2_048
MAX_TEMPLATES = 100
MAX_CLIENT_MEMBERS = 8
MAX_CLIENT_TEXT = 128


def encode(question: Question, mode: Mode, *, custom: bool, max_arguments_bytes: int) -> bytes:
    """Return `{"input": …}`. What only custom policy reads is in it only where `custom` says that there is any.

    Raises DecisionUnavailable for what JSON cannot carry exactly (NaN, infinities, lone surrogates).
    """
    kind = question.kind or KINDS.get(question.action)
    document = {
        "v": 2,
        "action": question.action,
        "kind": kind,
        "mode": mode,
        "view": question.view,
        "principal": _principal(question.principal, custom=custom),
        "target": _target(question, kind, max_arguments_bytes if custom else None),
        "request": {"time": question.request.time},
    }
    if custom:
        document["request"] = {"id": question.request.id, "ip": question.request.ip, "time": question.request.time}
        document["untrusted"] = {"client": _client(question.client)}
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


def _principal(principal: Principal, *, custom: bool) -> dict[str, Any]:
    document = {
        "subject": principal.subject,
        "kind": principal.kind,
        "issuer": principal.issuer,
        "tenant": principal.tenant,
        "acting_for": principal.acting_for,
        "groups": principal.groups[:MAX_GROUPS],
        "credential": _credential(principal.credential, custom=custom),
    }
    return document | {"scopes": principal.scopes} if custom else document


def _credential(credential: CredentialRef | None, *, custom: bool) -> dict[str, Any] | None:
    if credential is None:
        return None
    document = {"id": credential.id, "role": credential.role, "scope": credential.scope}
    return document | {"expires_at": credential.expires_at} if custom else document


def _target(question: Question, kind: Kind | None, arguments_limit: int | None) -> dict[str, Any]:
    longest = MAX_URI if kind is Kind.RESOURCE else MAX_NAME
    target: dict[str, Any] = {"name": _bounded(question.name, longest), "server": _bounded(question.server, MAX_NAME)}
    if kind is None:
        grants = question.grants
        target["tenant"] = question.tenant
        target["grants"] = {"role": grants.role, "scope": grants.scope} if grants else None
    elif question.action not in LISTS:
        if question.action in READS:
            target["templates"] = _templates(question.templates)
        if arguments_limit is not None:
            target |= _arguments(question.arguments, arguments_limit)
    return target


def _bounded(name: str | None, longest: int) -> str | None:
    # Nothing that a server has is named with an ellipsis, so a cut name cannot become another one.
    return name if name is None or len(name) <= longest else f"{name[:longest]}…"


def _templates(templates: tuple[str, ...]) -> tuple[str, ...]:
    # Leaving some out could leave out the one that is denied.
    if len(templates) > MAX_TEMPLATES:
        raise DecisionUnavailable("the URI matches more templates than policy is asked about")
    return templates


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
