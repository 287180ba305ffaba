"""The recipe as `make tour` plays it, for tests: its promises are promised there once."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

sys.path.append(str(Path(__file__).parent.parent.parent / "examples" / "front-door"))
PLAYER: Any = importlib.import_module("player")
TOUR: Any = importlib.import_module("tour")


def quiet_tour(port: int, issuer: str, key: str) -> Any:
    """Return a tour of the front door at a port of this machine that prints nothing."""
    return TOUR.Tour(PLAYER.Player(Console(quiet=True), port=port), issuer, key)


def broken(tour: Any) -> list[str]:
    """Return every promise that was not kept, with what was answered instead."""
    return [
        f"{step['step']}: {promise['promise']}: {step['exchanges']}"
        for step in tour.player.record
        for promise in step["promises"]
        if not promise["kept"]
    ]
