"""OPA's answer read strictly: every member there, of its own type, and no obligation that is not understood."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec

from gateway.errors import DecisionUnavailable
from gateway.ids import Ref
from gateway.model import UNLIMITED, AdminDecision, CallDecision, Limits, ListDecision, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

# Of lists of ids, a few megabytes at the most.
REMEMBERED_TEXTS = 256
MAX_REMEMBERED_BYTES = 16_384

_Revision = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_Limit = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
_A = TypeVar("_A")


class _Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    max_concurrent_requests: _Limit | msgspec.UnsetType = msgspec.UNSET
    requests_per_minute: _Limit | msgspec.UnsetType = msgspec.UNSET


class _Obligations(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a decision may oblige the gateway to. One that is not here would go unheeded, so it refuses."""

    limits: _Limits | msgspec.UnsetType = msgspec.UNSET


class _Base(msgspec.Struct, frozen=True):
    """What every decision has. msgspec takes only JSON's own true and false for a bool, and neither for an int."""

    allow: bool
    epoch: str
    revision: _Revision
    config: str
    stale: bool
    reasons: list[dict[str, Any]]


class _Call(_Base, frozen=True):
    visible: bool
    id: str | None
    obligations: _Obligations


class _List(_Base, frozen=True):
    ids: msgspec.Raw
    obligations: _Obligations


class _Admin(_Base, frozen=True):
    roles: list[str]
    obligations: _Obligations = _Obligations()


class _CallAnswer(msgspec.Struct, frozen=True):
    result: _Call


class _ListAnswer(msgspec.Struct, frozen=True):
    result: _List


class _AdminAnswer(msgspec.Struct, frozen=True):
    result: _Admin


def parse_call(answer: bytes) -> CallDecision:
    """Read the answer to a call; raises DecisionUnavailable for anything but a well-formed, consistent decision."""
    result = _decode(answer, _CallAnswer).result
    ref = None if result.id is None else _ref(result.id)
    if (result.visible and ref is None) or (result.allow and not result.visible):
        raise DecisionUnavailable("malformed decision: it admits what it does not name or show")
    return CallDecision(*_said(result), result.visible, ref)


def parse_list(answer: bytes) -> ListDecision:
    """Read the answer to a list; raises DecisionUnavailable for anything but a well-formed, consistent decision."""
    result = _decode(answer, _ListAnswer).result
    written = bytes(result.ids)
    ids = _ids_read_before(written) if len(written) <= MAX_REMEMBERED_BYTES else _ids(written)
    if ids and not result.allow:
        raise DecisionUnavailable("malformed decision: it lists something and does not allow the list")
    return ListDecision(*_said(result), ids)


def parse_admin(answer: bytes) -> AdminDecision:
    """Read the answer to an admin action; raises DecisionUnavailable for anything but a well-formed decision."""
    result = _decode(answer, _AdminAnswer).result
    return AdminDecision(*_said(result), tuple(result.roles))


def _said(result: _Call | _List | _Admin) -> tuple[bool, str, int, str, bool, tuple[Reason, ...], Limits]:
    """Return what every verdict says, in the order of `Verdict`: a tuple, because this is part of every request."""
    reasons, limits = _reasons(result.reasons), _limits(result.obligations)
    return result.allow, result.epoch, result.revision, result.config, result.stale, reasons, limits


def parse_explanation(answer: bytes) -> dict[str, Any]:
    """Read the answer to an explanation, which is for people and decides nothing."""
    return _decode(answer, _Explanation).result


def parse_number(answer: bytes) -> int:
    """Read one number of the data."""
    return _decode(answer, _Number).result


def parse_contested(answer: bytes) -> int:
    """Read how many tools have a flat name that they share with another's."""
    return len(_decode(answer, _Contested).result)


def parse_text(answer: bytes) -> str:
    """Read one word of the data."""
    return _decode(answer, _Text).result


class _Text(msgspec.Struct, frozen=True):
    result: str


class _Number(msgspec.Struct, frozen=True):
    result: int


class _Contested(msgspec.Struct, frozen=True):
    result: dict[str, str]


class _Explanation(msgspec.Struct, frozen=True):
    result: dict[str, Any]


def _decode(answer: bytes, shape: type[_A]) -> _A:
    try:
        return msgspec.json.decode(answer, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DecisionUnavailable(f"malformed decision: {error}") from error


def _ids(written: bytes) -> tuple[str, ...]:
    ids = _decode(written, list[str])
    for id_ in ids:
        _ref(id_)
    return tuple(sorted(set(ids)))


# The same text means the same ids whoever is answered, so that one is read once which is answered again and again.
_ids_read_before = lru_cache(maxsize=REMEMBERED_TEXTS)(_ids)


@lru_cache(maxsize=65_536)
def _ref(id_: str) -> Ref:
    try:
        ref = Ref.parse(id_)
    except ValueError as error:
        raise DecisionUnavailable("malformed decision: an id is none") from error
    if not ref.is_possible:
        raise DecisionUnavailable("malformed decision: an id names what no server can have")
    return ref


def _reasons(reasons: Iterable[dict[str, Any]]) -> tuple[Reason, ...]:
    return tuple(map(_reason, reasons))


def _reason(reason: dict[str, Any]) -> Reason:
    code, layer = reason.pop("code", None), reason.pop("layer", None)
    if not (isinstance(code, str) and code and isinstance(layer, str) and layer):
        raise DecisionUnavailable("malformed decision: a reason has no code or no layer")
    return Reason(code, layer, reason)


def _limits(obligations: _Obligations) -> Limits:
    found = obligations.limits
    if found is msgspec.UNSET:
        return UNLIMITED
    return Limits(_set(found.max_concurrent_requests), _set(found.requests_per_minute))


def _set(limit: int | msgspec.UnsetType) -> int | None:
    return None if limit is msgspec.UNSET else limit
