"""Strict JSON where trust begins (RFC 8259, and what it leaves open is refused).

Two readers of one body must never see two things, so duplicate members, NaN, infinities, lone surrogates, byte
order marks, deep nesting and hosts of values are refused; integers keep every digit.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

import orjson

from gateway.mcp.errors import Malformed

MAX_DEPTH = 64
# Reading costs by the value, not by the byte: a body of millions would keep everybody else waiting for seconds.
MAX_VALUES = 100_000

# Possessive, and content with an open end: text without a closing quote is read once like any other.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)


def decode(body: bytes) -> Any:
    """Return the one value that `body` means; raises Malformed."""
    if len(body) > MAX_VALUES and _separators(body) > MAX_VALUES and _separators(_STRING.sub(b"", body)) > MAX_VALUES:
        raise Malformed(f"the body has more than {MAX_VALUES} values")
    value = _canonical(body)
    return _strict(body) if value is None else value


def encode(value: Any) -> bytes:
    """Return a value that `decode` gave as compact UTF-8 JSON, integers of any size included."""
    try:
        return orjson.dumps(value)
    except TypeError:
        # orjson stops at 64 bits and at 254 levels.
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _separators(text: bytes) -> int:
    """Return how many values there are but for one or two, those within strings included."""
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def _canonical(body: bytes) -> Any:
    # A body that orjson would write the same way byte for byte has no duplicate, no NaN and no rounded number:
    # most clients send just that, and it costs a tenth of the strict reading.
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH:
        return None
    try:
        value = orjson.loads(body)
        return value if orjson.dumps(value) == body else None
    except ValueError:
        return None


def _strict(body: bytes) -> Any:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise Malformed("the body is not UTF-8") from None
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise Malformed(f"the body is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise Malformed(f"the body is not JSON: {error}") from None
    _require_shallow(body, value)
    if "\\u" in text:
        _require_characters(value)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed("an object has a member twice")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise Malformed("a number is out of range")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise Malformed(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse_constant)


def _require_shallow(body: bytes, value: Any) -> None:
    # Brackets within strings count too, so the cheap look can only be too careful.
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and depth(value) > MAX_DEPTH:
        raise Malformed(f"the body is nested deeper than {MAX_DEPTH} levels")


def depth(value: Any) -> int:
    """Return how many arrays and objects lie around the innermost value."""
    levels, layer = 0, [value]
    while layer := [item for item in layer if isinstance(item, dict | list)]:
        levels += 1
        layer = [inner for item in layer for inner in (item.values() if isinstance(item, dict) else item)]
    return levels


def _require_characters(value: Any) -> None:
    # json takes "\ud800" for a character; UTF-8 has no way to write it.
    try:
        encode(value)
    except UnicodeEncodeError:
        raise Malformed("a string has half of a surrogate pair") from None
