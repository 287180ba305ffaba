"""The page of threats: every requirement that must hold is on it, and every test that it names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "threats.md"
ROW = re.compile(r"^\| (A\d\d) \| .+ \| (.+) \|$", re.MULTILINE)
REQUIRED = [
    *range(1, 26), *range(27, 34), *range(35, 55), *range(56, 69),
]  # fmt: skip


def named() -> dict[str, list[str]]:
    """Return the tests that the page names for each requirement."""
    return {id_: re.findall(r"`(test_\w+)`", cell) for id_, cell in ROW.findall(PAGE.read_text())}


def existing() -> set[str]:
    """Return the name of every test function."""
    trees = [ast.parse(path.read_text()) for path in TESTS.glob("test_*.py")]
    functions = (
        node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return {function.name for function in functions}


def test_every_requirement_has_tests():
    assert list(named()) == [f"A{number:02}" for number in REQUIRED]
    assert all(named().values())


def test_every_test_that_the_page_of_threats_names_exists():
    assert {name for names in named().values() for name in names} <= existing()
