"""Where a configuration is read from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Source:
    """config.yaml, and tenants.yaml where the command line names it; as a path it is that of the former."""

    config: Path
    tenants: Path | None = None

    @classmethod
    def of(cls, source: Source | Path) -> Source:
        """Return a path to config.yaml as a source."""
        return source if isinstance(source, Source) else cls(source)

    @property
    def folder(self) -> Path:
        """The configuration directory."""
        return self.config.absolute().parent

    def __str__(self) -> str:
        return str(self.config)

    def __fspath__(self) -> str:
        return str(self.config)
