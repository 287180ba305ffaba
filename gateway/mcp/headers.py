"""The routing headers of 2026-07-28 (basic/transports/streamable-http, SEP-2243); values in, values out."""

from __future__ import annotations

import base64
import binascii
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VERSION = "MCP-Protocol-Version"
METHOD = "Mcp-Method"
NAME = "Mcp-Name"
SESSION = "Mcp-Session-Id"
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


def accepts_an_answer(headers: HeaderLines) -> bool:
    """Whether the Accept header, if there is one, leaves room for JSON or an event stream."""
    return _leaves_room(",".join(headers.getall("Accept", ())))


# An agent sends the same words with every request.
@lru_cache(maxsize=256)
def _leaves_room(accept: str) -> bool:
    ranges = {item.partition(";")[0].strip().lower() for item in accept.split(",")}
    return not accept.strip() or not ranges.isdisjoint(_ANSWERS)


_ANSWERS = frozenset({"*/*", "application/*", "application/json", "text/*", "text/event-stream"})
