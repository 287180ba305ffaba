"""URI templates (RFC 6570) the other way round: which URIs may a template have been expanded to. Standard library only.

Policy judges a read by every template that its URI matches, so this errs towards matching: a value may be empty, and
may hold whatever its expression cannot rule out. A match takes one step for each character, whatever the template is.
"""

from __future__ import annotations

import re

_PARTS = re.compile(r"\{([+#./;?&]?)[^{}+#./;?&][^{}]*\}|([^{}])")
_SLASH = "/"
# What follows the operator's own character; a value of `{name}` has its slashes encoded (RFC 6570, section 3.2.2).
_WITH_SLASHES = {"": False, "+": True, "#": True, ".": False, "/": True, ";": False, "?": True, "&": True}


class Template:
    """One template, read once; raises ValueError where braces do not make expressions.

    It is a machine whose states are the bits of a number: state i waits for part i, and a part is one character, or
    any number of characters of which a slash may be none.
    """

    __slots__ = ("_any", "_literals", "_prefix", "_segment", "_skips", "_start", "_whole", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._literals: dict[str, int] = {}
        self._any = self._segment = 0
        self._skips: list[tuple[int, int]] = []
        at = read = 0
        for part in _PARTS.finditer(text):
            if part.start() != read:
                break
            read = part.end()
            at = self._literal(part[2], at) if part[1] is None else self._expression(part[1], at)
        if read != len(text):
            raise ValueError(f"not a URI template: {text!r}")
        self._prefix = text.partition("{")[0]
        self._whole = 1 << at
        self._start = self._reached(1)

    def matches(self, uri: str) -> bool:
        """Say whether the whole URI may be an expansion of the template."""
        if not uri.startswith(self._prefix):
            return False
        states = self._start
        for char in uri:
            stay = states & (self._any if char == _SLASH else self._any | self._segment)
            states = self._reached((states & self._literals.get(char, 0)) << 1 | stay)
            if not states:
                return False
        return bool(states & self._whole)

    def _literal(self, char: str, at: int) -> int:
        self._literals[char] = self._literals.get(char, 0) | 1 << at
        return at + 1

    def _expression(self, operator: str, at: int) -> int:
        """Add the parts of an expression; one that begins with a character of its own may be missing as a whole."""
        values = at
        if operator not in ("", "+"):
            values = self._literal(operator, at)
        if _WITH_SLASHES[operator]:
            self._any |= 1 << values
        else:
            self._segment |= 1 << values
        self._skips += [(at, values + 1)] if values > at else []
        self._skips.append((values, values + 1))
        return values + 1

    def _reached(self, states: int) -> int:
        for here, there in self._skips:
            if states >> here & 1:
                states |= 1 << there
        return states
