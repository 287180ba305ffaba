"""What the syntax tree of one user's Rego file may hold; `opa parse` made the tree, nothing here runs Rego.

Custom policy can only narrow because the core reads nothing but `deny` and `hide` from it. The fence here is about
the other half: rules that would do nothing, and rules that look where their author has no promise about the shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ENTRY_RULES = ("deny", "hide")
CTX = ("data", "portcullis", "ctx")
NOT_KEYWORD = ("future", "keywords", "not")

Path = tuple[str | None, ...]
Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that may not stand in a custom policy; `line` counts from 1."""

    line: int | None
    message: str


@dataclass(frozen=True, slots=True)
class Module:
    """What one file defines: its rules by name with their first line, and which names each of them reads."""

    package: str
    rules: Mapping[str, int]
    reads: Mapping[str, frozenset[str]]
    faults: tuple[Fault, ...]

    @property
    def entries(self) -> tuple[str, ...]:
        """Return which of `deny` and `hide` this file defines."""
        return tuple(name for name in ENTRY_RULES if name in self.rules)


def examine(tree: Mapping[str, Any], name: str, offered: frozenset[str]) -> Module:
    """Hold one file of the folder `name` against the fence; `offered` are the names that `ctx` exposes."""
    rules: dict[str, int] = {}
    reads: dict[str, set[str]] = {}
    faults = [*_package(tree, name), *_imports(tree, name)]
    aliases = dict(_aliases(tree))
    for rule in tree.get("rules", ()):
        head = rule["head"]
        defined = head["ref"][0]["value"]
        rules.setdefault(defined, rule["location"]["row"])
        faults += _entry(rule, head, defined)
        read = reads.setdefault(defined, set())
        for path, line in _refs(rule):
            full = (*aliases.get(path[0] or "", (path[0],)), *path[1:])
            read.add(_own(full, name) or path[0] or "")
            faults += [Fault(line, message) for message in _foreign(full, name, offered)]
        faults += [Fault(line, "`with` is for tests only") for line in _with(rule)]
    return Module(name, rules, {rule: frozenset(names) for rule, names in reads.items()}, tuple(faults))


def unread(modules: Mapping[Key, Module]) -> Iterator[tuple[Key, Fault]]:
    """Yield the rules of one package that neither `deny` nor `hide` ever comes to: they would change nothing."""
    reads: dict[str, set[str]] = {}
    for module in modules.values():
        for rule, names in module.reads.items():
            reads.setdefault(rule, set()).update(names)
    reached = set(ENTRY_RULES)
    waiting = list(ENTRY_RULES)
    while waiting:
        fresh = reads.get(waiting.pop(), set()) - reached
        reached |= fresh
        waiting += fresh
    for key, module in modules.items():
        for rule, line in module.rules.items():
            if rule not in reached:
                yield key, Fault(line, _unread(rule))


def _unread(rule: str) -> str:
    near = get_close_matches(rule, ENTRY_RULES, n=1)
    meant = f"; did you mean `{near[0]}`?" if near else ": let `deny` or `hide` use it, or remove it"
    return f"`{rule}` is read by nothing and would change nothing{meant}"


def _package(tree: Mapping[str, Any], name: str) -> Iterator[Fault]:
    path = tuple(part["value"] for part in tree["package"]["path"])
    if path != ("data", "custom", name):
        found = ".".join(path[1:])
        yield Fault(tree["package"]["location"]["row"], f"package is {found}; in this folder it must be custom.{name}")


def _imports(tree: Mapping[str, Any], name: str) -> Iterator[Fault]:
    paths = [(_path(each["path"]), each["location"]["row"]) for each in tree.get("imports", ())]
    if NOT_KEYWORD not in [path for path, _ in paths]:
        yield Fault(
            tree["package"]["location"]["row"],
            "add `import future.keywords.not`: without it a negated call on a missing value does not fire",
        )
    for path, line in paths:
        if path[0] == "data" and path[:3] not in (CTX, ("data", "custom", name)):
            yield Fault(line, f"may not import {_written(path)}; only data.portcullis.ctx and data.custom.{name}")


def _aliases(tree: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    for each in tree.get("imports", ()):
        path = _path(each["path"])
        yield each.get("alias") or str(path[-1]), path


def _entry(rule: Mapping[str, Any], head: Mapping[str, Any], name: str) -> Iterator[Fault]:
    partial_set = len(head["ref"]) == 1 and "key" in head and "value" not in head and "args" not in head
    if name in ENTRY_RULES and not partial_set:
        yield Fault(rule["location"]["row"], f"`{name}` must be a set: `{name} contains … if {{ … }}`")


def _foreign(path: Path, name: str, offered: frozenset[str]) -> Iterator[str]:
    if path[0] != "data" or path[:3] == ("data", "custom", name):
        return
    if path[:3] != CTX:
        yield f"may not read {_written(path)}; only data.portcullis.ctx and data.custom.{name}"
    elif len(path) > 3 and path[3] not in offered:
        near = get_close_matches(str(path[3]), sorted(offered), n=1)
        meant = f"; did you mean `{near[0]}`?" if near else ""
        yield f"data.portcullis.ctx has no `{path[3]}`{meant}"


def _own(path: Path, name: str) -> str | None:
    return path[3] if path[:3] == ("data", "custom", name) and len(path) > 3 else None


def _written(path: Path) -> str:
    return ".".join(part if part is not None else "[…]" for part in path)


def _path(term: Mapping[str, Any]) -> Path:
    """Return a ref's parts, None for one that is known only when it runs."""
    parts = term["value"] if term["type"] == "ref" else [term]
    first, *rest = parts
    return (
        first["value"] if first["type"] == "var" else None,
        *(part["value"] if part["type"] == "string" else None for part in rest),
    )


def _refs(node: Any) -> Iterator[tuple[Path, int | None]]:
    """Yield every ref and variable below, nested ones too."""
    for term in _terms(node, lambda each: each.get("type") in ("ref", "var")):
        yield _path(term), term.get("location", {}).get("row")


def _with(node: Any) -> Iterator[int | None]:
    for expression in _terms(node, lambda each: "with" in each):
        yield expression.get("location", {}).get("row")


def _terms(node: Any, wanted: Callable[[Mapping[str, Any]], bool]) -> Iterator[Mapping[str, Any]]:
    waiting = [node]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            ref = each.get("type") == "ref"
            if wanted(each):
                yield each
            # A ref's own head would otherwise be seen a second time, as a bare variable.
            waiting += each["value"][1:] if ref else each.values()
        elif isinstance(each, list):
            waiting += each
