"""Configuration files for tests."""

from __future__ import annotations

import textwrap
from pathlib import Path

from gateway.config import Loaded, load
from gateway.errors import ConfigError

ROOT = Path(__file__).parent.parent.parent
RECIPE = ROOT / "examples" / "front-door" / "config.yaml"


def written(folder: Path, text: str, name: str = "config.yaml") -> Path:
    """Write a file and return its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def loaded(folder: Path, text: str, **environ: str) -> Loaded:
    """Write a configuration and load it."""
    return load(written(folder, text), environ)


def mistakes(folder: Path, text: str, **environ: str) -> list[tuple[str, int | None, str]]:
    """Write a configuration and return what is wrong with it, as (path, line, message)."""
    try:
        loaded(folder, text, **environ)
    except ConfigError as error:
        return [(one.path, one.line, one.message) for one in error.mistakes]
    return []
