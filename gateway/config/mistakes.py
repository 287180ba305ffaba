"""What pydantic found, in plain words that say what to do."""

from __future__ import annotations

import difflib
import types
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

from gateway.config.document import Document, Path, Surprise, dotted, misread
from gateway.config.schema import Config
from gateway.config.values import Section
from gateway.errors import Mistake

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic_core import ErrorDetails

_WANTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "model_type": "a mapping (key: value)",
    "model_attributes_type": "a mapping (key: value)",
    "dict_type": "a mapping (key: value)",
    "tuple_type": "a list ([a, b], or one line each with - before it)",
    "path_type": "a path",
}


def worded(error: ErrorDetails, document: Document) -> Mistake:
    """Return one error of pydantic as a mistake with its line."""
    path = location(error)
    return Mistake(document.file, dotted(path), document.line(path), _message(error, path, document))


def location(error: ErrorDetails) -> Path:
    """Return where in the file an error is, without pydantic's own steps."""
    return tuple(step for step in error["loc"] if step != "[key]")


def nearest(path: Path) -> Path | None:
    """Return the path of the known key that `path`, whose last step is unknown, most resembles; near ones first."""
    here = path[:-1]
    best, found = 0.75, None
    for known in (*((*here, key) for key in known_keys(here)), *all_keys()):
        likeness = difflib.SequenceMatcher(None, str(path[-1]), str(known[-1])).ratio()
        likeness += 0.15 * (known[:-1] == here)
        if likeness > best:
            best, found = likeness, known
    return found


def known_keys(path: Path) -> tuple[str, ...]:
    """Return the keys that the section at `path` may have; none where `path` leads to no section."""
    section: Any = Config
    for step in path:
        section = _below(section, step)
    return tuple(section.model_fields) if _is_section(section) else ()


def _below(annotation: Any, step: str | int) -> Any:
    if _is_section(annotation):
        found = annotation.model_fields.get(step)
        return _bare(found.annotation) if found else None
    if get_origin(annotation) in (dict, tuple):
        arguments = get_args(annotation)
        return _bare(arguments[1] if get_origin(annotation) is dict else arguments[0])
    return None


def _bare(annotation: Any) -> Any:
    if get_origin(annotation) in (types.UnionType, Union):
        return next((one for one in get_args(annotation) if one is not type(None)), None)
    return annotation


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _message(error: ErrorDetails, path: Path, document: Document) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown(path)
    if kind == "missing":
        return f"is missing; add {path[-1]}: …"
    if kind in _WANTED:
        return _wrong_type(_WANTED[kind], error["input"], document, path)
    if kind in ("literal_error", "enum"):
        return _misread(document, path) or f"{error['input']!r} is not one of: {context.get('expected', '')}"
    if kind == "value_error":
        return str(context["error"])
    return "it" + error["msg"][5:] if error["msg"].startswith("Input ") else error["msg"]


def _unknown(path: Path) -> str:
    if path == ("tool_access", "member"):
        return "unknown key; it belongs to a server: mcp_servers.<id>.tool_access.member"
    near = nearest(path)
    if near is None:
        return f"unknown key; known here: {', '.join(sorted(known_keys(path[:-1])))}"
    if near[:-1] == path[:-1]:
        return f"unknown key; did you mean {near[-1]}?"
    return f"unknown key; {'it belongs in' if near[-1] == path[-1] else 'did you mean'} {dotted(near)}"


def all_keys(section: Any = Config, path: Path = ()) -> Iterator[Path]:
    """Yield the path of every key of the schema; an entry of a map is `<id>`, one of a list `<number>`."""
    if get_origin(section) in (dict, tuple):
        yield from all_keys(_below(section, 0), (*path, "<id>" if get_origin(section) is dict else "<number>"))
    elif _is_section(section):
        for name, found in section.model_fields.items():
            yield (*path, name)
            yield from all_keys(_bare(found.annotation), (*path, name))


def _wrong_type(wanted: str, value: Any, document: Document, path: Path) -> str:
    if value is None:
        return f"is empty; give it {wanted}, or remove the key"
    if wanted == "text" and (misread := _misread(document, path)):
        return misread
    if isinstance(value, Surprise):
        return f"{value.raw} must be {wanted}, written plainly in decimal"
    return f"must be {wanted}"


def _misread(document: Document, path: Path) -> str | None:
    scalar = document.scalars.get(path)
    if scalar is None or scalar.kind in ("str", "null"):
        return None
    return misread(scalar)
