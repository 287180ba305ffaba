"""Arguments that a server wants repeated in headers: `x-mcp-header` and Mcp-Param-* (2026-07-28, server/tools)."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from gateway.mcp.headers import BadHeader, decoded, encoded, single

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.mcp.headers import HeaderLines

Path = tuple[str, ...]
ParamHeaders = tuple[tuple[Path, str], ...]
"""Which argument, by its path in the arguments, goes into which Mcp-Param- header."""

ANNOTATION = "x-mcp-header"
PREFIX = "Mcp-Param-"

_NUMBER = re.compile(r"-?[0-9]{1,400}(?:\.[0-9]{1,400})?")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_SCALARS = frozenset({"string", "integer", "boolean"})
# Keywords of JSON Schema 2020-12 whose values are schemas, by the shape of the value. Data (`default`, `const`, `enum`)
# and references are left out: the one holds no annotations, the others are not followed.
_ONE = (
    "items",
    "contains",
    "unevaluatedItems",
    "additionalProperties",
    "propertyNames",
    "unevaluatedProperties",
    "not",
    "if",
    "then",
    "else",
    "contentSchema",
)
_LIST = ("allOf", "anyOf", "oneOf", "prefixItems")
_MAP = ("patternProperties", "dependentSchemas", "$defs", "definitions")


def annotation_fault(schema: Any) -> str | None:
    """Return what is wrong with the first invalid annotation of an input schema, None if all are valid."""
    seen: set[str] = set()
    for path, node in _positions(schema):
        if ANNOTATION not in node:
            continue
        header = node[ANNOTATION]
        if not path:
            return f"{ANNOTATION} is not on a property"
        if not isinstance(header, str) or not _TOKEN.fullmatch(header):
            return f"{ANNOTATION} of {'.'.join(path)} is no header name"
        if not isinstance(node.get("type"), str) or node["type"] not in _SCALARS:
            return f"{ANNOTATION} of {'.'.join(path)} is not on a string, integer or boolean"
        if header.lower() in seen:
            return f"{ANNOTATION} {header} is there twice"
        seen.add(header.lower())
    return None


def param_headers(schema: Any) -> ParamHeaders:
    """Return what a valid input schema wants repeated."""
    return tuple((path, node[ANNOTATION]) for path, node in _positions(schema) if path and ANNOTATION in node)


def outgoing(headers: ParamHeaders, arguments: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the header lines for a call with these arguments; nothing for an argument that is absent or null."""
    for path, token in headers:
        text = _text(_at(arguments, path))
        if text is not None:
            yield PREFIX + token, encoded(text)


def disagreement(headers: ParamHeaders, arguments: Mapping[str, Any], lines: HeaderLines) -> str | None:
    """Return what the headers of a call say otherwise than its arguments, None where they agree.

    Each argument that is there has to be repeated, and one that is absent or null must not be (2026-07-28,
    server/tools).
    """
    for path, token in headers:
        name, value = PREFIX + token, _at(arguments, path)
        wanted = _text(value)
        try:
            line = single(lines, name)
            said = None if line is None else decoded(line)
        except BadHeader as error:
            return str(error)
        if said != wanted and not (said is not None and _is_number(value) and _number(said) == value):
            return f"the {name} header does not match the argument {'.'.join(path)}"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(text: str) -> Decimal | None:
    # 42 and 42.0 are the same integer.
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else None


def _at(value: Any, path: Path) -> Any:
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _positions(root: Any) -> Iterator[tuple[Path | None, dict[str, Any]]]:
    """Yield each schema within a schema, with its path while that leads through `properties` only."""
    waiting: list[tuple[Path | None, Any]] = [((), root)]
    while waiting:
        path, node = waiting.pop()
        if isinstance(node, dict):
            yield path, node
            waiting.extend(_below(path, node))


def _below(path: Path | None, node: dict[str, Any]) -> Iterator[tuple[Path | None, Any]]:
    properties = node.get("properties")
    if isinstance(properties, dict):
        for name, schema in properties.items():
            yield None if path is None else (*path, name), schema
    for keyword in _ONE:
        yield None, node.get(keyword)
    for keyword in _LIST:
        if isinstance(node.get(keyword), list):
            yield from ((None, schema) for schema in node[keyword])
    for keyword in _MAP:
        if isinstance(node.get(keyword), dict):
            yield from ((None, schema) for schema in node[keyword].values())
