"""The worlds of tests/cases: a config.yaml, an inventory, and the documents that sync makes of the two.

    python -m tests.support.worlds        writes the documents anew after a change of sync or of a world
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from bundles.custom import read_custom
from bundles.expand import Expander
from gateway.config import load
from gateway.model import ServerInventory
from gateway.pdp.opa_binary import find

CASES = Path(__file__).parents[1] / "cases"
WORLDS = CASES / "worlds"
NAMES = tuple(sorted(path.parent.name for path in WORLDS.glob("*/config.yaml")))
EPOCH = "0123456789abcdef" * 2
NOW = 1_790_000_000
# Stands for the hash of the config, which moves with every new key of the schema and judges nothing.
CONFIG_HASH = "c0ffee" * 10 + "c0ff"


def inventory(world: str) -> tuple[ServerInventory, ...]:
    """Return what the world's servers offer."""
    listed = yaml.safe_load((WORLDS / world / "inventory.yaml").read_text())["inventory"]
    return tuple(ServerInventory(server, "", tuple(tools), 0) for server, tools in listed.items())


def compiled(world: str) -> dict[str, Any]:
    """Return what sync makes of the world, and of a ledger in which nothing has happened yet."""
    loaded = load(WORLDS / world / "config.yaml")
    custom = read_custom(loaded.config.opa.custom_policies, find().path)
    return {
        "packages": {name: list(rules) for name, rules in custom.packages.items()},
        "portcullis_data": dict(Expander().expand(loaded.config, CONFIG_HASH, inventory(world)).data),
        "portcullis_live": {
            "epoch": EPOCH,
            "revision": 42,
            "generated_at": NOW,
            "withdrawn": {"global": {}, "tenant": {}},
            "revoked": {},
            "bindings": {},
            "scopes": {},
        },
    }


def snapshot(world: str) -> dict[str, Any]:
    """Return the world's documents as they are written down."""
    document: dict[str, Any] = json.loads((WORLDS / world / "snapshot.json").read_text())
    return document


def main() -> None:
    """Write every world's documents."""
    for name in NAMES:
        (WORLDS / name / "snapshot.json").write_text(json.dumps(compiled(name), indent=1) + "\n")


if __name__ == "__main__":
    main()
