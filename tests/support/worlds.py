"""The worlds of tests/cases: a config.yaml, an inventory, and the documents that sync makes of the two.

python -m tests.support.worlds        writes the documents anew after a change of sync or of a world
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bundles.custom import CustomPolicy, read_custom
from bundles.expand import Expander
from gateway.config import load
from gateway.facts import ServerInventory
from gateway.pdp.opa_binary import find
from gateway.pdp.question import KINDS

CASES = Path(__file__).parents[1] / "cases"
WORLDS = CASES / "worlds"
NAMES = tuple(sorted(path.parent.name for path in WORLDS.glob("*/config.yaml")))
EPOCH = "0123456789abcdef" * 2
NOW = 1_790_000_000
# Stands for the hash of the config, which moves with every new key of the schema and judges nothing.
CONFIG_HASH = "c0ffee" * 10 + "c0ff"
CONFIG = CONFIG_HASH[:16]
USUAL_INPUT: dict[str, Any] = {
    "v": 2,
    "view": "flat",
    "principal": {
        "subject": "user:jo",
        "kind": "jwt",
        "issuer": "https://auth.example.com",
        "tenant": None,
        "acting_for": None,
        "groups": [],
        "scopes": [],
        "credential": {"id": "j_1", "role": None, "scope": None, "expires_at": NOW + 3600},
    },
    "target": {"name": None, "server": None},
    "request": {"id": "0190a5b4-0000-7000-8000-000000000000", "ip": "192.0.2.7", "time": NOW},
    "untrusted": {"client": {}},
}
USUAL_ANSWER: dict[str, dict[str, Any]] = {
    "call": {"visible": False, "reasons": [], "obligations": {}},
    "list": {"ids": [], "reasons": [], "obligations": {}},
    "admin": {"roles": [], "reasons": []},
}


def inventory(world: str) -> tuple[ServerInventory, ...]:
    """Return what the world's servers offer: a list of tools, or a list of each kind."""
    listed = yaml.safe_load((WORLDS / world / "inventory.yaml").read_text())["inventory"]
    return tuple(inventory_of(server, offered) for server, offered in listed.items())


def inventory_of(server: str, offered: list[str] | dict[str, list[str]]) -> ServerInventory:
    """Return what a server offers: a list of tools, or a list of each kind."""
    kinds = offered if isinstance(offered, dict) else {"tools": offered}
    return ServerInventory(
        server, "", updated_at=0, **{"tools": (), **{kind: tuple(names) for kind, names in kinds.items()}}
    )


def quiet() -> dict[str, Any]:
    """Return what sync says is so now where nothing has happened yet."""
    return {
        "epoch": EPOCH,
        "revision": 42,
        "generated_at": NOW,
        "withdrawn": {"global": {}, "tenant": {}},
        "revoked": {},
        "bindings": {},
        "groups": {},
        "scopes": {},
    }


def compiled(world: str) -> dict[str, Any]:
    """Return what sync makes of the world, and of a ledger in which nothing has happened yet."""
    loaded = load(WORLDS / world / "config.yaml")
    return {
        "packages": {name: list(rules) for name, rules in custom(world).packages.items()},
        "portcullis_data": dict(Expander().expand(loaded.config, CONFIG_HASH, inventory(world)).data),
        "portcullis_live": quiet(),
    }


def snapshot(world: str) -> dict[str, Any]:
    """Return the world's documents as they are written down."""
    document: dict[str, Any] = json.loads((WORLDS / world / "snapshot.json").read_text())
    return document


@dataclass(frozen=True)
class Case:
    """One case of a file in tests/cases; runner_test.rego says what its members mean."""

    file: str
    note: str
    world: str
    given: dict[str, Any]
    without: tuple[tuple[str, ...], ...]
    input: dict[str, Any]
    expect: dict[str, Any]

    @property
    def id(self) -> str:
        """Return the case's name in reports."""
        return f"{self.file}: {self.note}"

    @property
    def entrypoint(self) -> str:
        """Return which decision answers it."""
        kind = self.input.get("kind", KINDS.get(self.input["action"]))
        return "admin" if kind is None else "list" if self.input["action"].endswith("/list") else "call"

    @property
    def plain(self) -> bool:
        """Whether it judges the world as it stands."""
        return not (self.given or self.without)

    @property
    def playable(self) -> bool:
        """Whether a gateway can be brought into its state by what operators can do."""
        facts = set(self.given.get("portcullis_live", {}))
        return not self.without and set(self.given) <= {"portcullis_live"} and facts <= {"withdrawn", "revoked"}

    def documents(self) -> dict[str, Any]:
        """Return what it is judged by."""
        written = snapshot(self.world)
        documents = merged({**manifests(written.pop("packages")), **written}, self.given)
        for path in self.without:
            *above, last = path
            holder = documents
            for key in above:
                holder = holder.get(key, {})
            holder.pop(last, None)
        return documents

    def question(self) -> dict[str, Any]:
        """Return the whole input."""
        mode = snapshot(self.world)["portcullis_data"]["mode"]
        usual = merged(USUAL_INPUT, {"mode": mode, "kind": KINDS.get(self.input["action"])})
        return merged(merged(usual, {"target": {"grants": None}} if self.entrypoint == "admin" else {}), self.input)

    def answer(self) -> dict[str, Any]:
        """Return the whole decision."""
        stamp = {"epoch": EPOCH, "revision": 42, "config": CONFIG, "stale": False}
        return merged({**USUAL_ANSWER[self.entrypoint], **stamp}, self.expect)


def cases() -> tuple[Case, ...]:
    """Return every case of every file."""
    found = []
    for path in sorted(CASES.glob("*.yaml")):
        for each in next(iter(yaml.safe_load(path.read_text()).values())):
            optional = {"given": each.get("given", {}), "without": tuple(map(tuple, each.get("without", ())))}
            found.append(
                Case(path.stem, each["note"], each["world"], **optional, input=each["input"], expect=each["expect"])
            )
    return tuple(found)


def custom(world: str) -> CustomPolicy:
    """Return the world's custom policy, checked."""
    return read_custom(load(WORLDS / world / "config.yaml").config.opa.custom_policies, find().path)


def manifests(packages: dict[str, Any]) -> dict[str, Any]:
    """Return the manifests of four active bundles."""
    named = {name: {"manifest": {"revision": "r1"}} for name in ("policy", "tenants", "live")}
    return {"bundles": {**named, "custom": {"manifest": {"revision": "r1", "metadata": {"packages": packages}}}}}


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` merged in, as Rego's object.union does it."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return copy.deepcopy(result)


def main() -> None:
    """Write every world's documents."""
    for name in NAMES:
        (WORLDS / name / "snapshot.json").write_text(json.dumps(compiled(name), indent=1) + "\n")


if __name__ == "__main__":
    main()
