"""What is locked of npm, and which node runs it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.conformance import npm

if TYPE_CHECKING:
    from pathlib import Path


def test_the_lock_pins_every_package_with_its_hash_and_says_nothing_of_where_it_comes_from():
    text = npm.LOCK.read_text()
    named = json.loads((npm.FOLDER / "package.json").read_text())
    locked = json.loads(text)["packages"]
    ours = locked.pop("")
    assert ours["dependencies"] == named["dependencies"]
    assert ours["optionalDependencies"] == named["optionalDependencies"]
    assert len(locked) > 100
    assert not [name for name, package in locked.items() if not package.get("integrity", "").startswith("sha512-")]
    assert "://" not in text


def test_what_is_named_is_named_at_one_version():
    named = json.loads((npm.FOLDER / "package.json").read_text())
    versions = {**named["dependencies"], **named["optionalDependencies"]}
    assert not [version for version in versions.values() if not version[0].isdecimal()]


@pytest.mark.parametrize(
    ("version", "usable"), [("v22.12.0", True), ("v26.1.0", True), ("v20.20.2", False), ("nonsense", False)]
)
def test_a_node_of_the_machine_is_used_where_it_is_new_enough(tmp_path: Path, version: str, usable: bool):
    node = tmp_path / "node"
    node.write_text(f"#!/bin/sh\necho {version}\n")
    node.chmod(0o755)
    assert npm.machines_node(str(tmp_path)) == (str(node) if usable else None)


def test_a_machine_may_have_no_node(tmp_path: Path):
    assert npm.machines_node(str(tmp_path)) is None
