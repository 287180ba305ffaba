"""How the house is built: what may import what, how long things may get, and what never lies around in it."""

from __future__ import annotations

import ast
import graphlib
import re
import statistics
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent

# Lowest first. A module imports from the floors under its own, never from its own floor or from above.
FLOORS = (
    "ids templates",
    "model facts",
    "errors gcra keys permissions single_flight background budget in_flight lag leash guard lru series seals",
    "outlet pulse",
    "addresses audit_file families globs child http1 standard_streams questions sessions sight streams",
    "net dial state config mcp",
    "known",
    "authn pdp inventory quotas upstream ledger audit metrics replication logs tracing rounds",
    "exporting",
    "follow recording registration recalled tickets",
    "turned_away catching_up conversation",
    "allowance forward questioning",
    "pep hearing",
    "lifecycle administration tenancy",
    "rereading targets directory",
    "endpoints",
    "rooms sidecars",
    "operation wiring",
    "gauges",
    "observed",
    "app",
    "cli",
    "__main__",
)
BUNDLES_MAY_IMPORT = {
    "ids",
    "templates",
    "model",
    "facts",
    "errors",
    "keys",
    "permissions",
    "globs",
    "state",
    "config",
    "ledger",
}
MAY_IMPORT_BUNDLES = {"app", "cli"}

PRODUCT = ("gateway/", "bundles/", "policies/")
SIZED = (*PRODUCT, "examples/", "bench/")
LONGEST_FILE = 250
LONGEST_FUNCTION = 40
MEDIAN_FUNCTION = 8

# Where packages come from, and where somebody's checkout lies, is nobody's business but the machine's.
PRIVATE = re.compile(
    r"--(?:extra-)?index-url\b|--find-links\b|https?://\S+/simple\b|GOPROXY=|(?:^|[\s\"'=:(])/(?:root|work|home/\w+|Users/\w+|tmp/opa\w*)/",
    re.MULTILINE,
)


def tracked(*suffixes: str, under: tuple[str, ...] = ("",)) -> list[Path]:
    """Return the repository's files (those that git has, and new ones that it would take)."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    names = (name for name in listing.stdout.split("\0") if name.endswith(suffixes or ("",)) and name.startswith(under))
    return sorted(ROOT / name for name in names if (ROOT / name).is_file())


def trees(*under: str) -> Iterator[tuple[str, ast.Module]]:
    for path in tracked(".py", under=under or ("",)):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def module_name(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


MODULES = {module_name(file): tree for file, tree in trees(*PRODUCT)}


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield each of the product's own modules that is imported; of a package the submodule, where one is meant."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in MODULES else node.module


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def room(module: str) -> str:
    """Return what stands on a floor: `gateway.pdp.client` is part of `pdp`."""
    return module.split(".")[1] if module.count(".") else ""


def test_every_module_of_the_gateway_stands_on_a_floor():
    homeless = {room(name) for name in MODULES if name.startswith("gateway.")} - set(" ".join(FLOORS).split())
    assert not homeless


def test_imports_point_down_and_rooms_of_one_floor_do_not_know_each_other():
    height = {name: level for level, floor in enumerate(FLOORS) for name in floor.split()}
    wrong = [
        f"{name} imports {other}"
        for name, tree in MODULES.items()
        for other in imported(tree)
        if name.startswith("gateway.") and other.startswith("gateway.")
        if room(name) != room(other) and height[room(other)] >= height[room(name)]
    ]
    assert not wrong


def test_only_the_composition_root_and_the_command_line_know_the_sync_service():
    wrong = [
        f"{name} imports {other}"
        for name, tree in MODULES.items()
        for other in imported(tree)
        if other.split(".")[0] == "bundles" and name.split(".")[0] != "bundles" and room(name) not in MAY_IMPORT_BUNDLES
    ]
    assert not wrong


def test_the_sync_service_knows_the_ledger_and_the_configuration_and_nothing_of_requests():
    wrong = [
        f"{name} imports {other}"
        for name, tree in MODULES.items()
        for other in imported(tree)
        if name.startswith("bundles.") and other.startswith("gateway.")
        if room(other) not in BUNDLES_MAY_IMPORT
    ]
    assert not wrong


def test_the_policies_import_nothing():
    assert not [name for name, tree in MODULES.items() if name.split(".")[0] == "policies" and [*imported(tree)]]


def test_no_module_imports_itself_in_a_circle():
    graph = {name: {other for other in imported(tree) if other != name} for name, tree in MODULES.items()}
    graphlib.TopologicalSorter(graph).prepare()


def test_nothing_is_imported_inside_a_function():
    wrong = [
        f"{file}:{node.lineno}"
        for file, tree in trees()
        for function in functions(tree)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert not wrong


def test_no_request_travels_in_a_context_variable():
    assert not [file for file, tree in trees(*PRODUCT) if "contextvars" in ast.dump(tree)]


def test_no_file_is_too_long_to_read():
    long = {file: len((ROOT / file).read_text().splitlines()) for file, _ in trees(*SIZED)}
    assert not {file: count for file, count in long.items() if count > LONGEST_FILE}


def test_no_function_is_too_long_to_read():
    wrong = [
        f"{file}:{function.lineno} {function.name} has {lines(function)} lines"
        for file, tree in trees(*SIZED)
        for function in functions(tree)
        if lines(function) > LONGEST_FUNCTION
    ]
    assert not wrong


def test_most_functions_are_short():
    sizes = [lines(function) for tree in MODULES.values() for function in functions(tree)]
    assert statistics.median(sizes) <= MEDIAN_FUNCTION


def broad(node: ast.AST) -> bool:
    """Whether everything is caught here and not raised again."""
    if isinstance(node, ast.ExceptHandler) and isinstance(node.body[-1], ast.Raise):
        return False
    caught = [node.type] if isinstance(node, ast.ExceptHandler) else []
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
        caught = list(node.args)
    names = {ast.unparse(part) for one in caught if one for part in getattr(one, "elts", [one])}
    return bool(names & {"Exception", "BaseException"}) or (isinstance(node, ast.ExceptHandler) and node.type is None)


def test_whoever_catches_everything_says_why():
    reasoned = re.compile(r"# (?:noqa: BLE001 )?\(.{10,}\)")
    wrong = [
        f"{file}:{node.lineno}"
        for file, tree in trees(*SIZED)
        for node in ast.walk(tree)
        if broad(node) and not reasoned.search((ROOT / file).read_text().splitlines()[node.lineno - 1])
    ]
    assert not wrong


def test_tests_use_real_parts_and_patch_nothing():
    fake = re.compile(r"\bunittest\.mock\b|\bmonkeypatch\b|\bmocker\b")
    mine = Path(__file__)
    assert not [path for path in tracked(".py", under=("tests/",)) if path != mine and fake.search(path.read_text())]


def test_every_rule_of_rego_has_its_test_beside_it():
    files = tracked(".rego", under=("policies/", "examples/"))
    rules = [path for path in files if not path.stem.endswith("_test")]
    assert rules
    assert not [path for path in rules if path.with_name(f"{path.stem}_test.rego") not in files]


def test_no_file_says_where_packages_come_from_or_where_a_checkout_lies():
    mine = Path(__file__)
    wrong = {}
    every = tracked()
    assert ROOT / "requirements.txt" in every
    for path in every:
        found = PRIVATE.search(path.read_text(errors="replace"))
        if found and path != mine:
            wrong[path.relative_to(ROOT).as_posix()] = found.group().strip()
    assert not wrong


LOCKS = ("requirements.txt", "requirements-otel.txt", "requirements-dev.txt")


def test_the_locks_pin_every_requirement_with_its_hashes():
    for name in LOCKS:
        pins = re.findall(r"^[a-z0-9].*?(?=^[a-z0-9]|\Z)", (ROOT / name).read_text(), re.MULTILINE | re.DOTALL)
        assert len(pins) > 10
        assert not [pin.splitlines()[0] for pin in pins if "==" not in pin or "--hash=sha256:" not in pin]


# The first versions without a known hole that a stranger's token, request or JSON could reach: algorithm confusion and
# keys from headers (authlib), a password count in a JWE (joserfc), `crit` (PyJWT), request parsing (aiohttp, mcp, h11,
# starlette), buffers that overflow (cryptography). By hand, so that a fresh clone is checked without asking anybody.
FLOORS_OF_SAFETY = {
    "aiohttp": (3, 14, 3),
    "authlib": (1, 6, 12),
    "cryptography": (50, 0, 0),
    "h11": (0, 16, 0),
    "joserfc": (1, 6, 3),
    "mcp": (1, 28, 1),
    "pyjwt": (2, 12, 0),
    "starlette": (1, 0, 1),
}


def test_a68_no_dependency_is_locked_at_a_version_with_a_known_hole():
    locked = {
        (name, version)
        for lock in LOCKS
        for name, version in re.findall(r"^([a-z0-9-]+)==([\d.]+)", (ROOT / lock).read_text(), re.MULTILINE)
    }
    assert {name for name, _ in locked} >= FLOORS_OF_SAFETY.keys()
    old = [
        f"{name} {version}"
        for name, version in locked
        if tuple(map(int, version.split("."))) < FLOORS_OF_SAFETY.get(name, (0,))
    ]
    assert not old


def documents() -> list[Path]:
    return tracked(".md")


@pytest.mark.parametrize("page", documents(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_speaks_of_files_and_make_targets_that_exist(page: Path):
    text = page.read_text()
    links = re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", text)
    assert not [link for link in links if not (page.parent / link).exists()]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^\s*)make ([a-z-]+)", text, re.MULTILINE)) <= targets
