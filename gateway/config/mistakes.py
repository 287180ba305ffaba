"""What pydantic found, in plain words that say what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.config.document import Document, Path, dotted
from gateway.config.known import known_keys, nearest
from gateway.config.scalars import Surprise, misread
from gateway.errors import Mistake

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

UNKNOWN_KEY = frozenset(("extra_forbidden", "unexpected_keyword_argument"))

_WANTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "model_type": "a mapping (key: value)",
    "dataclass_type": "a mapping (key: value)",
    "model_attributes_type": "a mapping (key: value)",
    "dict_type": "a mapping (key: value)",
    "tuple_type": "a list ([a, b], or one line each with - before it)",
    "path_type": "a path",
}


def worded(error: ErrorDetails, document: Document, root: type) -> Mistake:
    """Return one error of pydantic, which made a `root` of the document, as a mistake with its line."""
    path = location(error)
    return Mistake(document.file, dotted(path), document.line(path), _message(error, path, document, root))


def location(error: ErrorDetails) -> Path:
    """Return where in the file an error is, without pydantic's own steps."""
    return tuple(step for step in error["loc"] if step != "[key]")


def _message(error: ErrorDetails, path: Path, document: Document, root: type) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind in UNKNOWN_KEY:
        return _unknown(path, root)
    if kind == "missing":
        return f"is missing; add {path[-1]}: …"
    if kind in _WANTED:
        return _wrong_type(_WANTED[kind], error["input"], document, path)
    if kind in ("literal_error", "enum"):
        return _misread(document, path) or f"{error['input']!r} is not one of: {context.get('expected', '')}"
    if kind == "value_error":
        return str(context["error"])
    return "it" + error["msg"][5:] if error["msg"].startswith("Input ") else error["msg"]


def _unknown(path: Path, root: type) -> str:
    if path == ("tool_access", "member"):
        return "unknown key; it belongs to a server: mcp_servers.<id>.tool_access.member"
    near = nearest(root, path)
    if near is None:
        return f"unknown key; known here: {', '.join(sorted(known_keys(root, path[:-1])))}"
    if near[:-1] == path[:-1]:
        return f"unknown key; did you mean {near[-1]}?"
    return f"unknown key; {'it belongs in' if near[-1] == path[-1] else 'did you mean'} {dotted(near)}"


def _wrong_type(wanted: str, value: Any, document: Document, path: Path) -> str:
    if value is None:
        return f"is empty; give it {wanted}, or remove the key"
    if wanted == "text" and (misread := _misread(document, path)):
        return misread
    if isinstance(value, Surprise):
        return f"{value.raw} must be {wanted}, written plainly in decimal"
    return f"must be {wanted}"


def _misread(document: Document, path: Path) -> str | None:
    scalar = document.scalar(path)
    if scalar is None or scalar.kind == "null":
        return None
    return misread(scalar)
