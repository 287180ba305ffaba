"""Globs over tool names mean what `fnmatch.fnmatchcase` means, and cannot be made to explode."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bundles.globs import Glob, literal_regex

NAMES = st.text(alphabet="ab-./]![^x", max_size=8)
PATTERNS = st.text(alphabet="ab-./]![^x*?", max_size=10)


@given(pattern=PATTERNS, name=NAMES)
@example(pattern="[]-a]", name="]")
@example(pattern="[!]a-]", name="-")
@example(pattern="[b-a]", name="b")
@example(pattern="[!b-a]", name="b")
@example(pattern="[", name="[")
def test_a_glob_matches_what_fnmatchcase_matches(pattern: str, name: str) -> None:
    assert Glob(pattern).matches(name) is fnmatchcase(name, pattern)


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("charge", "charge", "charges"),
        ("*", "any.thing/at-all", None),
        ("get_*", "get_invoice", "forget_invoice"),
        ("v1.list", "v1.list", "v1xlist"),
        ("Charge", "Charge", "charge"),
        ("user_?", "user_1", "user_12"),
        ("[!a-c]*", "delete", "add"),
        ("a*b*c", "a-b-b-c", "a-c-b"),
    ],
)
def test_the_documented_forms(pattern: str, matching: str, other: str | None) -> None:
    assert Glob(pattern).matches(matching)
    assert other is None or not Glob(pattern).matches(other)


def test_a56_a_pattern_made_to_backtrack_takes_no_more_steps_than_name_times_pattern() -> None:
    pattern = "*a" * 64 + "b"

    class Counted(str):
        """A name that counts how often a character of it is looked at."""

        looks = 0

        def __getitem__(self, index: object) -> str:
            Counted.looks += 1
            return super().__getitem__(index)  # type: ignore[index]

    assert not Glob(pattern).matches(Counted("a" * 128))
    assert 128 <= Counted.looks <= 128 * len(pattern)


@pytest.mark.parametrize(
    ("pattern", "literal"), [("charge", "charge"), ("a[", "a["), ("", ""), ("a*", None), ("a?", None), ("[a]", None)]
)
def test_an_exact_name_is_known_as_one(pattern: str, literal: str | None) -> None:
    assert Glob(pattern).literal == literal


@given(st.text(alphabet="ab*?[]!-^.\\]", max_size=8), st.text(alphabet="ab*?[]!-^.\\\n", max_size=6))
def test_a_glob_as_an_expression_matches_what_the_glob_matches(pattern: str, name: str):
    glob = Glob(pattern)
    # RE2 writes the last character there is in another way than Python.
    expression = glob.regex.replace("\\x{10FFFF}", "\\U0010ffff")
    assert bool(re.fullmatch(f"(?s:{expression})", name)) is glob.matches(name)


@given(st.text(max_size=8), st.text(max_size=8))
def test_a_text_as_an_expression_matches_itself_alone(text: str, other: str):
    assert re.fullmatch(f"(?s:{literal_regex(text)})", text)
    assert bool(re.fullmatch(f"(?s:{literal_regex(text)})", other)) is (text == other)
