"""What a PromQL expression asks for: which metrics, by which labels. Strict: what it does not know, it refuses."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<range>\[[^\]]*\])
      | (?P<number>(?:\d+(?:ms|[smhdwy]))+|\d+(?:\.\d+)?)
      | (?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
      | (?P<operator>=~|!~|!=|==|>=|<=|[-+*/%^=<>(){},])
    )""",
    re.VERBOSE,
)
WINDOW = re.compile(r"\[(?:(?:\d+(?:ms|[smhdwy]))+|\$__rate_interval|\$__range)\]")
AGGREGATIONS = {"sum", "min", "max", "avg", "count", "topk", "bottomk"}
FUNCTIONS = {"rate", "increase", "histogram_quantile", "absent", "changes", "min_over_time", "max_over_time"}
GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}
WORDS = {"and", "or", "unless", "bool", "offset"}
MATCHERS = {"=", "!=", "=~", "!~"}


class NotUnderstood(Exception):
    """The expression has something that this reader does not know."""


@dataclass
class Asked:
    """The metrics that are selected, with the matchers of each, and the labels that are grouped by."""

    selected: list[tuple[str, dict[str, tuple[str, str]]]] = field(default_factory=list)
    grouped: set[str] = field(default_factory=set)


def tokens(expression: str) -> list[tuple[str, str]]:
    """Return kind and text of each token."""
    found, at = [], 0
    while expression[at:].strip():
        match = TOKEN.match(expression, at)
        if match is None or match.lastgroup is None:
            raise NotUnderstood(expression[at:])
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


class Reader:
    """Reads one expression."""

    def __init__(self, expression: str) -> None:
        self._left = tokens(expression)
        self.asked = Asked()

    def read(self) -> Asked:
        """Return what is asked for; raises NotUnderstood."""
        depth = 0
        while self._left:
            kind, text = self._next()
            depth += {"(": 1, ")": -1}.get(text, 0) if kind == "operator" else 0
            if depth < 0 or text in ("{", "}", "="):
                raise NotUnderstood(f"a stray {text}")
            if kind == "range" and not WINDOW.fullmatch(text):
                raise NotUnderstood(text)
            if kind == "name":
                self._name(text)
        if depth:
            raise NotUnderstood("a parenthesis that is not closed")
        return self.asked

    def _name(self, name: str) -> None:
        if name in GROUPING:
            self.asked.grouped |= set(self._list())
        elif self._peek() == "(":
            if name not in AGGREGATIONS | FUNCTIONS:
                raise NotUnderstood(f"a function {name}")
        elif name in AGGREGATIONS and self._peek() in GROUPING:
            pass
        elif name not in WORDS:
            self.asked.selected.append((name, self._matchers() if self._peek() == "{" else {}))

    def _list(self) -> list[str]:
        self._expect("(")
        names = []
        while self._peek() != ")":
            names.append(self._next()[1])
            if self._peek() == ",":
                self._next()
        self._expect(")")
        return names

    def _matchers(self) -> dict[str, tuple[str, str]]:
        self._expect("{")
        found: dict[str, tuple[str, str]] = {}
        while self._peek() != "}":
            (kind, label), (_, operator), (value_kind, value) = self._next(), self._next(), self._next()
            if kind != "name" or operator not in MATCHERS or value_kind != "string" or label in found:
                raise NotUnderstood(f"{label}{operator}{value}")
            found[label] = (operator, value[1:-1])
            if self._peek() == ",":
                self._next()
        self._expect("}")
        return found

    def _peek(self) -> str:
        return self._left[0][1] if self._left else ""

    def _next(self) -> tuple[str, str]:
        if not self._left:
            raise NotUnderstood("it ends too early")
        return self._left.pop(0)

    def _expect(self, text: str) -> None:
        if self._next()[1] != text:
            raise NotUnderstood(f"no {text} where one must be")


def asked(expression: str) -> Asked:
    """Return what an expression asks for; raises NotUnderstood."""
    return Reader(expression).read()
