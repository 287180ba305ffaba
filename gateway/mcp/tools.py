"""Definitions of tools: read from a server's pages, checked, and encoded once for each way of listing them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
from msgspec import Raw

from gateway.ids import TOOL_NAME
from gateway.mcp.answers import Answer, Unusable, is_object
from gateway.mcp.params import ParamHeaders, annotation_fault, param_headers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as its server defines it; `definition` is the JSON text of the definition, as sent.

    `headers` says which arguments the server wants repeated in Mcp-Param-* headers.
    """

    name: str
    definition: bytes
    headers: ParamHeaders


@dataclass(frozen=True, slots=True)
class Fragment:
    """One definition as an element of a list, or several with commas, for each era; both are often the same object."""

    modern: bytes
    legacy: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a server's `tools/list`: its definitions, unchecked, and the cursor of the next page."""

    definitions: tuple[bytes, ...]
    next_cursor: str | None


def page(answer: Answer) -> Page:
    """Return the page that an answer to `tools/list` is; raises Unusable."""
    if answer.error is not None:
        raise Unusable(f"refused to list its tools ({answer.error.code})")
    try:
        definitions = msgspec.json.decode(answer.result["tools"], type=list[Raw])
        cursor = msgspec.json.decode(answer.result.get("nextCursor", b"null"), type=str | None)
    except (KeyError, msgspec.MsgspecError):
        raise Unusable("did not answer with a list of tools") from None
    return Page(tuple(bytes(definition) for definition in definitions), cursor)


def usable(definitions: Iterable[bytes]) -> tuple[tuple[Tool, ...], int]:
    """Return the tools that may be offered, by name, and how many may not.

    Left out are definitions without a legal name or schema, those whose x-mcp-header annotations are invalid (a
    client must drop them), those that run as tasks only, and every one of a name that is there twice.
    """
    tools: dict[str, Tool | None] = {}
    dropped = 0
    for definition in definitions:
        tool = _tool(definition)
        if tool is None:
            dropped += 1
        elif tool.name in tools:
            dropped += 1 if tools[tool.name] is None else 2
            tools[tool.name] = None
        else:
            tools[tool.name] = tool
    return tuple(sorted((tool for tool in tools.values() if tool), key=lambda tool: tool.name)), dropped


def fragment(definition: bytes, name: str) -> Fragment:
    """Return a definition under a name; every value but the name's is the bytes that the server sent."""
    members: dict[str, Any] = dict(msgspec.json.decode(definition, type=dict[str, Raw]))
    members["name"] = name
    modern = msgspec.json.encode(members)
    if _has_object_output(members):
        return Fragment(modern, modern)
    del members["outputSchema"]
    return Fragment(modern, msgspec.json.encode(members))


def joined(fragments: Sequence[Fragment]) -> Fragment:
    """Return definitions as the elements of one list."""
    modern = b",".join([one.modern for one in fragments])
    if all(one.legacy is one.modern for one in fragments):
        return Fragment(modern, modern)
    return Fragment(modern, b",".join([one.legacy for one in fragments]))


def _tool(definition: bytes) -> Tool | None:
    try:
        # The strict reading is for us; what is passed on are the bytes.
        value = orjson.loads(definition)
    except ValueError:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("inputSchema"), dict):
        return None
    name, execution = value.get("name"), value.get("execution")
    if not isinstance(name, str) or not TOOL_NAME.fullmatch(name):
        return None
    if isinstance(execution, dict) and execution.get("taskSupport") == "required":
        return None
    if annotation_fault(value["inputSchema"]):
        return None
    return Tool(name, definition, param_headers(value["inputSchema"]))


def _has_object_output(members: dict[str, Any]) -> bool:
    """Whether the output schema is absent or one that revisions before 2026-07-28 allow."""
    schema = members.get("outputSchema")
    if schema is None:
        return True
    return is_object(schema) and msgspec.json.decode(schema).get("type") == "object"


def digest_of(tools: Iterable[Tool]) -> str:
    """Return a digest of definitions, as hex digits; a change of any of them, or of their order, is another."""
    hashed = hashlib.sha256()
    for tool in tools:
        hashed.update(b"%d:%b" % (len(tool.definition), tool.definition))
    return hashed.hexdigest()
