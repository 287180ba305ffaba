"""The routing headers of 2026-07-28 (basic/transports/streamable-http, SEP-2243); values in, values out."""

from __future__ import annotations

import base64
import binascii
import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VERSION = "MCP-Protocol-Version"
METHOD = "Mcp-Method"
NAME = "Mcp-Name"
SESSION = "Mcp-Session-Id"
LAST_EVENT = "Last-Event-ID"
# Which member of `params` the Mcp-Name header repeats.
NAMED_BY: Mapping[str, str] = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}

_PRINTABLE = re.compile(r"[\x20-\x7e]*")
_SENTINEL = re.compile(r"=\?base64\?(.*)\?=")


class HeaderLines(Protocol):
    """Headers as they came, one value a line; names in any case."""

    def getall(self, key: str, default: Sequence[str]) -> Sequence[str]:
        """Return the values of every line of that name."""


class BadHeader(ValueError):
    """A routing header comes twice or cannot be read."""


def single(headers: HeaderLines, name: str) -> str | None:
    """Return the one value of a header without the space around it (RFC 9110 5.5); raises BadHeader."""
    values = headers.getall(name, ())
    if not values:
        return None
    value = values[0].strip(" \t")
    if len(values) > 1:
        raise BadHeader(f"{name} is sent more than once")
    if not _PRINTABLE.fullmatch(value):
        raise BadHeader(f"{name} has characters that a header cannot carry")
    return value


def decoded(value: str) -> str:
    """Return what a header value stands for: itself, or what its base64 sentinel wraps; raises BadHeader."""
    sentinel = _SENTINEL.fullmatch(value)
    if sentinel is None:
        return value
    try:
        raw = base64.b64decode(sentinel[1], validate=True)
        # Several spellings of one value would be several values to somebody else.
        if base64.b64encode(raw).decode() == sentinel[1]:
            return raw.decode()
    except (binascii.Error, UnicodeDecodeError):
        pass
    raise BadHeader("a base64 header value is malformed")


def encoded(value: str) -> str:
    """Return the value as a header carries it: plain where it survives, else in the base64 sentinel."""
    if _PRINTABLE.fullmatch(value) and value == value.strip() and not _SENTINEL.fullmatch(value):
        return value
    return f"=?base64?{base64.b64encode(value.encode()).decode()}?="


class Accepted(NamedTuple):
    """Which kinds of answer an Accept header leaves room for; `stream` where it names event streams themselves.

    `events_first` where it wants no JSON, or names event streams before it.
    """

    json: bool
    events: bool
    stream: bool
    events_first: bool


def accepted(headers: HeaderLines) -> Accepted:
    """Return what kinds of answer may be sent; without the header any."""
    return _accepted(",".join(headers.getall("Accept", ())))


# An agent sends the same words with every request.
@lru_cache(maxsize=256)
def _accepted(accept: str) -> Accepted:
    if not accept.strip():
        return Accepted(json=True, events=True, stream=False, events_first=False)
    ranges = [_media_range(item) for item in accept.split(",")]
    json = next((at for at, one in enumerate(ranges) if one in _JSON_RANGES), None)
    stream = ranges.index(EVENTS) if EVENTS in ranges else None
    return Accepted(
        json=json is not None,
        events=not _EVENT_RANGES.isdisjoint(ranges),
        stream=stream is not None,
        events_first=json is None or (stream is not None and stream < json),
    )


def _media_range(item: str) -> str:
    name, *parameters = (part.strip().lower() for part in item.split(";"))
    return "" if any(_NOT_AT_ALL.fullmatch(one) for one in parameters) else name


JSON = "application/json"
EVENTS = "text/event-stream"

_NOT_AT_ALL = re.compile(r"q\s*=\s*0(?:\.0*)?")
_JSON_RANGES = frozenset({"*/*", "application/*", JSON})
_EVENT_RANGES = frozenset({"*/*", "text/*", EVENTS})
