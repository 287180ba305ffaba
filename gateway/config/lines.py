"""Where keys stand in a file, read again when a mistake is to be told: ten thousand good tenants need no lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.config.contents import Terms, read_file
from gateway.config.document import Bounds, Document, dotted, parse
from gateway.errors import Mistake

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config.document import Path as Keys


class Lines:
    """The lines of one file; one that is gone by then has none."""

    def __init__(self, path: Path, bounds: Bounds, roots: tuple[Path, ...] = ()) -> None:
        self._path = path
        self._bounds = bounds
        self._terms = Terms(bounds.max_bytes, roots)
        self._document: Document | None = None

    def mistake(self, keys: Keys, message: str) -> Mistake:
        """Return a mistake at these keys."""
        if self._document is None:
            self._document = self._read()
        return Mistake(str(self._path), dotted(keys), self._document.line(keys), message)

    def _read(self) -> Document:
        try:
            return parse(read_file(self._path, self._terms), str(self._path), self._bounds)
        except OSError:
            return Document(str(self._path))
