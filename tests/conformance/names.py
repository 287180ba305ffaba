"""The names of `names.yaml`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml


@cache
def _names() -> dict[str, list[str]]:
    names: dict[str, list[str]] = yaml.safe_load(Path(__file__).with_name("names.yaml").read_text())
    return names


def exposed(kind: str) -> frozenset[str]:
    """Return what the fixture exposes of a kind: tools, prompts, resources, templates."""
    return frozenset(_names()[kind])


def every() -> frozenset[str]:
    """Return every name that is accounted for, in the fixture or elsewhere."""
    return frozenset[str]().union(*_names().values())
