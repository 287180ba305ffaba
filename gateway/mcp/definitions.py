"""Definitions of what servers offer: read from their pages, checked, and encoded once for each way of listing them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
from msgspec import Raw

from gateway.mcp.answers import Answer, Unusable, is_object
from gateway.mcp.errors import METHOD_NOT_FOUND
from gateway.mcp.params import ParamHeaders, param_headers
from gateway.mcp.sections import SECTIONS, TOOLS, Section

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Definition:
    """Something as its server defines it; `text` is the JSON text of the definition, as sent.

    `headers` says which arguments of a tool the server wants repeated in Mcp-Param-* headers.
    """

    name: str
    text: bytes
    headers: ParamHeaders = ()


Offered = dict[str, tuple[Definition, ...]]
"""What a server offers, by the method that lists it; a list that it does not have is not there."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """One definition as an element of a list, or several with commas, for each era; both are often the same object."""

    modern: bytes
    legacy: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a server's list: its definitions, unchecked, and the cursor of the next page."""

    definitions: tuple[bytes, ...]
    next_cursor: str | None


class NotServed(Unusable):
    """The server knows no such list."""


def page(section: Section, answer: Answer) -> Page:
    """Return the page of a list that an answer is; raises Unusable, NotServed."""
    if answer.error is not None:
        refused = NotServed if answer.error.code == METHOD_NOT_FOUND else Unusable
        raise refused(f"refused to list its {section.things} ({answer.error.code})")
    try:
        definitions = msgspec.json.decode(answer.result[section.member], type=list[Raw])
        cursor = msgspec.json.decode(answer.result.get("nextCursor", b"null"), type=str | None)
    except (KeyError, msgspec.MsgspecError):
        raise Unusable(f"did not answer with a list of {section.things}") from None
    return Page(tuple(bytes(definition) for definition in definitions), cursor)


def usable(section: Section, texts: Iterable[bytes]) -> tuple[tuple[Definition, ...], int]:
    """Return what may be offered of a list, by name, and how much may not.

    Left out is what has no legal name or is not fit otherwise, and everything of a name that is there twice.
    """
    found: dict[str, Definition | None] = {}
    dropped = 0
    for text in texts:
        definition = _definition(section, text)
        if definition is None:
            dropped += 1
        elif definition.name in found:
            dropped += 1 if found[definition.name] is None else 2
            found[definition.name] = None
        else:
            found[definition.name] = definition
    return tuple(sorted((one for one in found.values() if one), key=lambda one: one.name)), dropped


def fragment(section: Section, text: bytes, name: str) -> Fragment:
    """Return a definition under a name; every value but the name's is the bytes that the server sent."""
    members: dict[str, Any] = dict(msgspec.json.decode(text, type=dict[str, Raw]))
    members[section.named_by] = name
    modern = msgspec.json.encode(members)
    if section is not TOOLS or _has_object_output(members):
        return Fragment(modern, modern)
    del members["outputSchema"]
    return Fragment(modern, msgspec.json.encode(members))


def joined(fragments: Sequence[Fragment]) -> Fragment:
    """Return definitions as the elements of one list."""
    modern = b",".join([one.modern for one in fragments])
    if all(one.legacy is one.modern for one in fragments):
        return Fragment(modern, modern)
    return Fragment(modern, b",".join([one.legacy for one in fragments]))


def digest_of(offered: Mapping[str, Iterable[Definition]]) -> str:
    """Return a digest of definitions, as hex digits; a change of any of them, or of their order, is another."""
    hashed = hashlib.sha256()
    for method in SECTIONS:
        for one in offered.get(method, ()):
            hashed.update(b"%b:%d:%b" % (method.encode(), len(one.text), one.text))
    return hashed.hexdigest()


def _definition(section: Section, text: bytes) -> Definition | None:
    try:
        # The strict reading is for us; what is passed on are the bytes.
        value = orjson.loads(text)
    except ValueError:
        return None
    if not isinstance(value, dict) or not all(isinstance(value.get(one), str) for one in section.texts):
        return None
    name = value.get(section.named_by)
    if not isinstance(name, str) or not section.names.fullmatch(name) or not section.fit(value):
        return None
    return Definition(name, text, param_headers(value["inputSchema"]) if section is TOOLS else ())


def _has_object_output(members: dict[str, Any]) -> bool:
    """Whether the output schema is absent or one that revisions before 2026-07-28 allow."""
    schema = members.get("outputSchema")
    if schema is None:
        return True
    return is_object(schema) and msgspec.json.decode(schema).get("type") == "object"
