"""Globs over tool names: `*`, `?`, `[abc]`, `[!a]`, as `fnmatch.fnmatchcase` reads them, without a regular expression.

A match costs at most len(name) * len(pattern) comparisons whatever the pattern is: only the last `*` is ever
reconsidered, so there is nothing to explode.
"""

from __future__ import annotations

from dataclasses import dataclass

META = frozenset("*?[")
_ESCAPED = frozenset("\\.+*?()|[]{}^$")
_ESCAPED_IN_CLASS = frozenset("\\]^-[")
# A class that no character is in, such as `[b-a]`, as RE2 has to be told.
_NOTHING = "[^\\x00-\\x{10FFFF}]"


@dataclass(frozen=True, slots=True)
class _AnyOf:
    """One character out of a class; `ranges` hold inclusive bounds."""

    ranges: tuple[tuple[str, str], ...]
    negated: bool

    def admits(self, char: str) -> bool:
        return any(low <= char <= high for low, high in self.ranges) is not self.negated

    @property
    def regex(self) -> str:
        if not self.ranges:
            return "." if self.negated else _NOTHING
        inside = "".join(f"{_in_class(low)}-{_in_class(high)}" for low, high in self.ranges)
        return f"[{'^' * self.negated}{inside}]"


_ONE = _AnyOf(ranges=(), negated=True)
_Token = _AnyOf | str | None


class Glob:
    """One pattern, read once."""

    __slots__ = ("_tokens", "pattern")

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self._tokens = _tokens(pattern)

    @property
    def literal(self) -> str | None:
        """The one name that an exact pattern stands for; None for a real glob."""
        if META.isdisjoint(self.pattern):
            return self.pattern
        return "".join(map(str, self._tokens)) if all(isinstance(token, str) for token in self._tokens) else None

    @property
    def regex(self) -> str:
        """The pattern as RE2 reads it, to be anchored and matched with the flag `s`."""
        return "".join(map(_regex, self._tokens))

    def matches(self, name: str) -> bool:
        """Say whether the whole name is admitted."""
        tokens, at, token = self._tokens, 0, 0
        star, resume = -1, 0
        while at < len(name):
            if token < len(tokens) and tokens[token] is None:
                star, resume = token, at
                token += 1
            elif token < len(tokens) and _admits(tokens[token], name[at]):
                at += 1
                token += 1
            elif star >= 0:
                # The last star takes one more character; an earlier one never needs to.
                resume += 1
                at, token = resume, star + 1
            else:
                return False
        return all(rest is None for rest in tokens[token:])


def literal_regex(text: str) -> str:
    """Return what matches a text and nothing else, as RE2 reads it."""
    return "".join(f"\\{char}" if char in _ESCAPED else char for char in text)


def _regex(token: _Token) -> str:
    if token is None:
        return ".*"
    return literal_regex(token) if isinstance(token, str) else token.regex


def _in_class(char: str) -> str:
    return f"\\{char}" if char in _ESCAPED_IN_CLASS else char


def _admits(token: _Token, char: str) -> bool:
    return token == char if isinstance(token, str) else token is not None and token.admits(char)


def _tokens(pattern: str) -> tuple[_Token, ...]:
    """Return one token a character: a literal, a class, or None for a star (runs of stars are one)."""
    tokens: list[_Token] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            if not tokens or tokens[-1] is not None:
                tokens.append(None)
        elif char == "?":
            tokens.append(_ONE)
        elif char == "[" and (end := _class_end(pattern, at)):
            tokens.append(_class(pattern[at:end]))
            at = end + 1
        else:
            tokens.append(char)
    return tuple(tokens)


def _class_end(pattern: str, start: int) -> int:
    """Return where the class that opened before `start` closes; 0 if it never does, so `[` is itself."""
    first = start + 1 if pattern.startswith("!", start) else start
    return max(pattern.find("]", first + 1), 0)


def _class(body: str) -> _AnyOf:
    negated = body.startswith("!")
    body = body[negated:]
    ranges: list[tuple[str, str]] = []
    at = 0
    while at < len(body):
        if at + 2 < len(body) and body[at + 1] == "-":
            if body[at] <= body[at + 2]:
                ranges.append((body[at], body[at + 2]))
            at += 3
        else:
            ranges.append((body[at], body[at]))
            at += 1
    return _AnyOf(tuple(ranges), negated)
