"""YAML through a fence: plain data and the line of every key, or every reason why not.

Refused: more bytes or a greater depth than a kind of file may have, more than one document, anchors, aliases, tags,
merge keys, duplicate keys, keys that are not text, and numbers that YAML 1.1 reads otherwise than they look (`0123`
is 83, `1:30` is 90).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from gateway.config.closely import Reader, TooDeep
from gateway.config.quick import Suspicious, quick
from gateway.config.scalars import Scalar, Scalars
from gateway.errors import Mistake

if TYPE_CHECKING:
    from gateway.config.closely import Below, Mark

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How large and how deep a kind of file may be."""

    max_bytes: int
    max_depth: int


MAX_DEPTH = 32
CONFIG = Bounds(max_bytes=1024 * 1024, max_depth=MAX_DEPTH)

# What the parser says of what people do most, in words that say what to do.
_HINTS = {
    "found character that cannot start any token": "a tab, %, @ or ` begins nothing; indent with spaces, quote text",
}


@dataclass(slots=True)
class Document:
    """One parsed file; `mistakes` are those of the YAML itself.

    Lines are wanted for mistakes only, so the text is read for them when the first one is asked for.
    """

    file: str
    data: Any = None
    mistakes: list[Mistake] = field(default_factory=list)
    text: str | None = field(default=None, repr=False)
    marks: Below = field(default=None, repr=False)

    def line(self, path: Path) -> int | None:
        """Return the line of the key at `path`, or of the nearest key above it."""
        marks = self._marks(path)
        return marks[-1][0] if marks else None

    def scalar(self, path: Path) -> Scalar | None:
        """Return the scalar at `path` as it is written, where YAML reads anything but text."""
        marks = self._marks(path)
        found = marks[-1][1] if len(marks) == len(path) > 0 else None
        return found if isinstance(found, Scalar) else None

    def refuse(self, path: Path, line: int | None, message: str) -> None:
        """Add a mistake of the YAML itself."""
        self.mistakes.append(Mistake(self.file, dotted(path), line, message))

    def _marks(self, path: Path) -> list[Mark]:
        """Return the marks on the way to `path`, as far as it leads."""
        if self.text is not None:
            _, self.marks = Reader(self.text, lambda *_: None, MAX_DEPTH).read()
            self.text = None
        found: list[Mark] = []
        below: Below = self.marks
        for step in path:
            mark = _step(below, step)
            if mark is None:
                break
            found.append(mark)
            _, below = mark
        return found


def _step(below: Below, step: str | int) -> Mark | None:
    if isinstance(below, dict) and isinstance(step, str):
        return below.get(step)
    if isinstance(below, list) and isinstance(step, int) and step < len(below):
        return below[step]
    return None


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


def parse(raw: bytes, file: str, bounds: Bounds = CONFIG, scalars: Scalars | None = None) -> Document:
    """Parse the bytes of one file; the document's `mistakes` say what is wrong with it, and nothing is raised.

    Many files that are parsed together may share their `scalars`.
    """
    document = Document(file)
    text = _text(raw, document, bounds)
    if text is None:
        return document
    try:
        document.data = quick(text, bounds.max_depth, Scalars() if scalars is None else scalars)
        document.text = text
    except (Suspicious, yaml.YAMLError):
        _read_closely(text, document, bounds)
    return document


def _read_closely(text: str, document: Document, bounds: Bounds) -> None:
    try:
        document.data, document.marks = Reader(text, document.refuse, bounds.max_depth).read()
    except TooDeep as error:
        document.refuse((), error.line, f"is nested more than {bounds.max_depth} levels deep")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or str(error).partition("\n")[0]
        document.refuse((), mark.line + 1 if mark else None, f"is not valid YAML: {_HINTS.get(what, what)}")


def _text(raw: bytes, document: Document, bounds: Bounds) -> str | None:
    if len(raw) > bounds.max_bytes:
        document.refuse((), None, f"is larger than {bounds.max_bytes} bytes")
        return None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        document.refuse((), raw[: error.start].count(b"\n") + 1, "is not UTF-8 text")
        return None
