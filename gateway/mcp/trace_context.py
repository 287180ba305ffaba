"""Trace context in `_meta` (MCP 2026-07-28, basic/index; SEP-414): what an agent says of its trace is a claim.

`baggage` (W3C Baggage) is what the agent's own people put there for their own services, often who the user is. It goes
to servers only as far as the operator says so, key by key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
BAGGAGE = "baggage"
# W3C Baggage, section 3.3.2: what everybody must be able to pass on, and nobody needs to pass on more.
MAX_BAGGAGE_CHARACTERS = 8192
# W3C Trace Context, section 3.3.1.5: of a longer tracestate, a part may be dropped; here it is all of it.
MAX_TRACESTATE_CHARACTERS = 512


def without_baggage(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an agent's `_meta` as it goes on where no traces are made."""
    return {key: value for key, value in meta.items() if key != BAGGAGE} if BAGGAGE in meta else meta


def replaced(meta: Mapping[str, Any], context: Mapping[str, str], keys: Collection[str]) -> dict[str, Any]:
    """Return an agent's `_meta` with another trace context in the place of its own, and with these keys of baggage."""
    kept = {key: value for key, value in meta.items() if key not in (TRACEPARENT, TRACESTATE, BAGGAGE)}
    baggage = kept_baggage(meta.get(BAGGAGE), keys)
    return {**kept, **context, **({BAGGAGE: baggage} if baggage else {})}


def kept_baggage(baggage: Any, keys: Collection[str]) -> str:
    """Return the members of a baggage that have one of these keys, as they were written; empty where there are none."""
    if not keys or not isinstance(baggage, str) or len(baggage) > MAX_BAGGAGE_CHARACTERS:
        return ""
    members = (member.strip(" \t") for member in baggage.split(","))
    return ",".join(member for member in members if member.partition("=")[0].rstrip(" \t") in keys)


def claimed(traceparent: Any, tracestate: Any) -> Mapping[str, str]:
    """Return what an agent claims of its trace, empty where that cannot be one."""
    if not isinstance(traceparent, str) or len(traceparent) > 128:
        return {}
    if not isinstance(tracestate, str) or len(tracestate) > MAX_TRACESTATE_CHARACTERS:
        return {TRACEPARENT: traceparent}
    return {TRACEPARENT: traceparent, TRACESTATE: tracestate}
