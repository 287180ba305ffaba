"""What a policy that hides one thing of each kind must cost, and nothing else."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Hidden:
    """A name that is hidden, and the checks, as (scenario, id), that are about it alone."""

    kind: str
    name: str
    loses: frozenset[tuple[str, str]]


def hidden() -> list[Hidden]:
    """Return what `narrowed.yaml` hides."""
    every = yaml.safe_load(Path(__file__).with_name("narrowed.yaml").read_text())
    return [Hidden(one["kind"], one["name"], frozenset(_pairs(one["loses"]))) for one in every]


def expected(passed: Counter[tuple[str, str]], names: Iterable[Hidden]) -> Counter[tuple[str, str]]:
    """Return what hiding these costs, of the checks that pass while nothing is hidden."""
    lost = frozenset[tuple[str, str]]().union(*(one.loses for one in names))
    return Counter({key: count for key, count in passed.items() if key in lost})


def lists(names: Iterable[Hidden]) -> dict[str, Any]:
    """Return the members of a server's section by which these names are denied to everybody."""
    by_kind: dict[str, list[str]] = {}
    for one in names:
        by_kind.setdefault(one.kind, []).append(one.name)
    tools = {"tools": {"deny_list": by_kind.pop("tool")}} if "tool" in by_kind else {}
    access = {"access": {kind: {"deny_list": denied} for kind, denied in by_kind.items()}} if by_kind else {}
    return tools | access


def _pairs(loses: dict[str, list[str]]) -> Iterable[tuple[str, str]]:
    return ((scenario, id_) for scenario, ids in loses.items() for id_ in ids)
