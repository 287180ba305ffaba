"""YAML through a fence: plain data and the line of every key, or every reason why not.

Refused: more than 1 MiB, more than one document, anchors, aliases, tags, merge keys, depth above 32, duplicate
keys, keys that are not text, and numbers that YAML 1.1 reads otherwise than they look (`0123` is 83, `1:30` is 90).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from gateway.errors import Mistake

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32
Path = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?[0-9]*\.?[0-9]+([eE][-+]?[0-9]+)?")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_TRUE = frozenset(("true", "yes", "on"))
# What the parser says of what people do most, in words that say what to do.
_HINTS = {
    "found character that cannot start any token": "a tab, %, @ or ` begins nothing; indent with spaces, quote text",
}


@dataclass(frozen=True, slots=True)
class Scalar:
    """A scalar as it was written: `kind` is what YAML 1.1 takes it for (`str`, `int`, `bool`, `timestamp` …)."""

    kind: str
    raw: str


@dataclass(frozen=True, slots=True)
class Surprise:
    """Stands where YAML 1.1 reads a number or a date that its writer hardly meant; no field takes it."""

    raw: str


@dataclass(slots=True)
class Document:
    """One parsed file; `lines` and `scalars` are by path, and `mistakes` are those of the YAML itself."""

    file: str
    data: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    scalars: dict[Path, Scalar] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def line(self, path: Path) -> int | None:
        """Return the line of the key at `path`, or of the nearest key above it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)

    def refuse(self, path: Path, line: int | None, message: str) -> None:
        """Add a mistake of the YAML itself."""
        self.mistakes.append(Mistake(self.file, dotted(path), line, message))


def dotted(path: Path) -> str:
    """Write a path as `mcp_servers.payments.tools.allow_list[0]`; a key with a dot in it is quoted."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
            continue
        key = f'"{step}"' if not step or re.search(r"[.\s\[\]\"]", step) else step
        text += f".{key}" if text else key
    return text


def parse(raw: bytes, file: str) -> Document:
    """Parse the bytes of one file; the document's `mistakes` say what is wrong with it, and nothing is raised."""
    document = Document(file)
    text = _text(raw, document)
    if text is None:
        return document
    try:
        for line, message in _fenced(text):
            document.refuse((), line, message)
        if not document.mistakes:
            root = yaml.compose(text, Loader=yaml.CSafeLoader)
            document.data = None if root is None else _build(root, (), document)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or str(error).partition("\n")[0]
        document.refuse((), mark.line + 1 if mark else None, f"is not valid YAML: {_HINTS.get(what, what)}")
    return document


def _text(raw: bytes, document: Document) -> str | None:
    if len(raw) > MAX_BYTES:
        document.refuse((), None, f"is larger than {MAX_BYTES} bytes")
        return None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        document.refuse((), raw[: error.start].count(b"\n") + 1, "is not UTF-8 text")
        return None


def _fenced(text: str) -> Iterator[tuple[int, str]]:
    """Yield what the fence refuses, from parser events alone: nothing is built, so a bomb costs nothing."""
    depth = documents = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        documents += isinstance(event, yaml.DocumentStartEvent)
        if documents > 1:
            yield line, "holds more than one YAML document; keep the first and remove ---"
            return
        if isinstance(event, yaml.AliasEvent) or (isinstance(event, yaml.NodeEvent) and event.anchor):
            yield line, f"anchors and aliases (&{event.anchor}, *{event.anchor}) are not read; write the value out"
        elif isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag is not None:
            yield line, f"tags ({event.tag}) are not read; write a plain value"
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            yield line, f"is nested more than {MAX_DEPTH} levels deep"
            return


def _build(node: yaml.Node, path: Path, document: Document) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, document)
    if isinstance(node, yaml.SequenceNode):
        items = []
        for index, item in enumerate(node.value):
            document.lines[(*path, index)] = item.start_mark.line + 1
            items.append(_build(item, (*path, index), document))
        return items
    kind = node.tag.removeprefix(_TAG)
    document.scalars[path] = Scalar(kind, node.value)
    if _CONTROL.search(node.value):
        document.refuse(path, node.start_mark.line + 1, "holds a control character; remove it")
    return _value(kind, node.value)


def _mapping(node: yaml.MappingNode, path: Path, document: Document) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        key = _key(key_node, path, document)
        if key is None:
            continue
        here = (*path, key)
        if key in result:
            document.refuse(here, line, f"is there twice, first on line {document.lines[here]}; keep one")
            continue
        document.lines[here] = line
        result[key] = _build(value_node, here, document)
    return result


def _key(node: yaml.Node, path: Path, document: Document) -> str | None:
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.ScalarNode) or _CONTROL.search(node.value):
        document.refuse(path, line, "a key must be plain text")
    elif node.tag == f"{_TAG}merge":
        document.refuse(path, line, "merge keys (<<) are not read; write the keys out")
    elif node.tag != f"{_TAG}str":
        quoted = misread(Scalar(node.tag.removeprefix(_TAG), node.value))
        document.refuse(path, line, f"in a key, {quoted}")
    else:
        return str(node.value)
    return None


def _value(kind: str, raw: str) -> Any:
    if kind == "null":
        return None
    if kind == "bool":
        return raw.lower() in _TRUE
    if kind == "int" and _DECIMAL.fullmatch(raw) and len(raw) <= 20:
        return int(raw)
    if kind == "float" and _FLOAT.fullmatch(raw):
        return float(raw)
    return raw if kind == "str" else Surprise(raw)


_NAMES = {
    "bool": "true or false",
    "int": "a number",
    "float": "a number",
    "null": "nothing",
    "timestamp": "a date",
    "value": "a special key",
    "merge": "a merge key",
}


def misread(scalar: Scalar) -> str:
    """Say what YAML 1.1 makes of a bare word that its writer meant as text."""
    return f'YAML reads {scalar.raw} as {_NAMES.get(scalar.kind, scalar.kind)}; put it in quotes: "{scalar.raw}"'
