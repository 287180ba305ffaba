"""Users' own Rego: read, held against the fence, compiled together with the core, and only then published.

A folder of policies has one folder a package:

    spend_limit/spend_limit.rego         package custom.spend_limit
    spend_limit/spend_limit_test.rego    left out of the bundle
    spend_limit/data.yaml                becomes data.custom.spend_limit.…

The real `opa` checks it, because `opa run` takes no capabilities: what is not refused here would run.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundles.bundle import canonical
from bundles.custom_ast import ENTRY_RULES, Module, examine, unread
from gateway.config.document import parse
from gateway.errors import ConfigError, Mistake
from policies import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PACKAGE = re.compile(r"[a-z][a-z0-9_]{0,63}")
DATA_FILES = ("data.yaml", "data.json")
CHECK_SECONDS = 30

# Makes the schema of the input hold for every package below, without a word in the users' files.
FENCE = """# METADATA
# scope: subpackages
# schemas:
#   - input: schema.input
package custom
"""


@dataclass(frozen=True, slots=True)
class CustomPolicy:
    """What the custom bundle holds: `files` by their path in it, `packages` with the entry rules of each."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    packages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class _Package:
    name: str
    folder: Path
    sources: dict[Path, bytes] = field(default_factory=dict)
    modules: dict[Path, Module] = field(default_factory=dict)
    data: Mapping[str, Any] | None = None


def read_custom(folder: Path | None, opa: Path) -> CustomPolicy:
    """Return the checked policies of a folder (None: there are none); raises ConfigError with every mistake.

    Runs `opa` once a file and once for all, so call it off the event loop.
    """
    if folder is None:
        return CustomPolicy()
    if not folder.is_dir():
        raise ConfigError((Mistake(str(folder), "", None, "is not a folder of policies"),))
    mistakes: list[Mistake] = []
    packages = [package for each in sorted(folder.iterdir()) if (package := _read(each, opa, mistakes))]
    for package in packages:
        mistakes += _whole(package)
    mistakes += _compile(packages, opa)
    if mistakes:
        raise ConfigError(tuple(sorted(set(mistakes), key=lambda each: (each.file, each.line or 0, each.message))))
    return CustomPolicy(
        files={path: content for package in packages for path, content in _files(package)},
        packages={package.name: _entries(package) for package in packages},
    )


def _read(each: Path, opa: Path, mistakes: list[Mistake]) -> _Package | None:
    if each.name.startswith("."):
        return None
    if not each.is_dir():
        if each.suffix in (".rego", ".json", ".yaml", ".yml"):
            mistakes.append(_mistake(each, f"move it into a folder of its own: {each.stem}/{each.name}"))
        return None
    if not any(each.rglob("*.rego")) and not any((each / name).exists() for name in DATA_FILES):
        return None
    if not PACKAGE.fullmatch(each.name):
        mistakes.append(_mistake(each, "a package's folder is named in lower case letters, digits and _"))
        return None
    package = _Package(each.name, each)
    for path in sorted(each.rglob("*")):
        _read_file(package, path, opa, mistakes)
    return package


def _read_file(package: _Package, path: Path, opa: Path, mistakes: list[Mistake]) -> None:
    known = path.suffix in (".rego", ".json", ".yaml", ".yml")
    if not path.is_file() or path.name.endswith("_test.rego") or not known:
        return
    if path.parent != package.folder:
        mistakes.append(_mistake(path, f"move it up into {package.folder.name}/: a package has no folders within"))
    elif path.suffix == ".rego":
        _read_rego(package, path, opa, mistakes)
    elif path.name not in DATA_FILES:
        mistakes.append(_mistake(path, "only data.yaml or data.json is published; rename it or take it away"))
    elif package.data is not None:
        mistakes.append(_mistake(path, "there are both data.json and data.yaml; keep one"))
    else:
        package.data = _read_data(path, mistakes)


def _read_rego(package: _Package, path: Path, opa: Path, mistakes: list[Mistake]) -> None:
    package.sources[path] = path.read_bytes()
    run = _run([opa, "parse", "--format", "json", "--json-include", "locations,-comments", path])
    if run.returncode:
        mistakes += _reported(run, {str(path): path}, path)
        return
    module = examine(json.loads(run.stdout), package.name, _offered())
    package.modules[path] = module
    mistakes += [_mistake(path, fault.message, fault.line, package) for fault in module.faults]


def _read_data(path: Path, mistakes: list[Mistake]) -> Mapping[str, Any]:
    """Return the data of a package; JSON is YAML too, so one loader reads both."""
    document = parse(path.read_bytes(), str(path))
    mistakes += document.mistakes
    try:
        if isinstance(document.data, dict):
            json.dumps(document.data, allow_nan=False)
            return document.data
        if not document.mistakes:
            mistakes.append(_mistake(path, "must be a mapping"))
    except (TypeError, ValueError):
        mistakes.append(_mistake(path, "holds what JSON cannot say, a date perhaps; put it in quotes"))
    return {}


def _whole(package: _Package) -> Iterator[Mistake]:
    """Yield what is wrong with a package although each of its files is right."""
    for path, fault in unread(package.modules):
        yield _mistake(path, fault.message, fault.line, package)
    # A file that did not parse may be the one that defines them.
    if len(package.modules) == len(package.sources) and not _entries(package):
        yield _mistake(package.folder, "defines neither `deny` nor `hide`, so it would do nothing", None, package)
    taken = {name for module in package.modules.values() for name in module.rules} | set(ENTRY_RULES)
    for key in sorted(taken & set(package.data or ())):
        yield _mistake(package.folder, f"its data has a key `{key}`, which is a rule's name; rename it", None, package)


def _entries(package: _Package) -> tuple[str, ...]:
    defined = {name for module in package.modules.values() for name in module.entries}
    return tuple(name for name in ENTRY_RULES if name in defined)


def _files(package: _Package) -> Iterator[tuple[str, bytes]]:
    for path, content in package.sources.items():
        yield f"custom/{package.name}/{path.name}", content
    if package.data is not None:
        yield f"custom/{package.name}/data.json", canonical(package.data)


def _compile(packages: list[_Package], opa: Path) -> Iterator[Mistake]:
    """Yield what `opa check` says of the policies beside the core; files that do not parse are left out."""
    with tempfile.TemporaryDirectory(prefix="portcullis-policy-") as name:
        stage = Path(name)
        (stage / "custom").mkdir()
        (stage / "custom" / "fence.rego").write_text(FENCE)
        origins: dict[str, Path] = {}
        for path in _core():
            copy = stage / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        for package in packages:
            for path in package.modules:
                copy = stage / "custom" / package.name / path.name
                copy.parent.mkdir(exist_ok=True)
                copy.write_bytes(package.sources[path])
                origins[str(copy)] = path
        capabilities = ROOT / "capabilities.json"
        fence = ["--strict", "--schema", ROOT / "schemas", "--capabilities", capabilities]
        run = _run([opa, "check", *fence, "--format", "json", "--max-errors", "1000", stage])
        if run.returncode:
            yield from _reported(run, origins, ROOT)


def _core() -> list[Path]:
    return sorted(path for path in ROOT.glob("portcullis/*/*.rego") if not path.name.endswith("_test.rego"))


def _offered() -> frozenset[str]:
    """Return the names that `ctx` exposes: those its own file defines and does not call private."""
    text = (ROOT / "portcullis" / "ctx" / "ctx.rego").read_text()
    return frozenset(re.findall(r"^(?:default )?([a-z][a-z_]*)\b(?= :=| if| contains)", text, re.MULTILINE))


def _run(command: list[Any]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603
            [str(part) for part in command], capture_output=True, text=True, timeout=CHECK_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError((Mistake(str(command[0]), "", None, f"cannot check custom policy: {error}"),)) from error


def _reported(run: subprocess.CompletedProcess[str], origins: Mapping[str, Path], otherwise: Path) -> list[Mistake]:
    """Return the errors that `opa --format json` printed, at the users' own files."""
    try:
        errors = json.loads(run.stderr or run.stdout)["errors"]
    except (ValueError, KeyError, TypeError):
        return [_mistake(otherwise, f"opa failed: {(run.stderr or run.stdout).strip()[:500]}")]
    mistakes = []
    for error in errors:
        where = error.get("location") or {}
        path = origins.get(where.get("file", ""), otherwise)
        message = error["message"]
        for copy, origin in origins.items():
            message = message.replace(copy, str(origin))
        mistakes.append(_mistake(path, message, where.get("row")))
    return mistakes


def _mistake(path: Path, message: str, line: int | None = None, package: _Package | None = None) -> Mistake:
    return Mistake(str(path), f"custom.{package.name}" if package else "", line, message)
