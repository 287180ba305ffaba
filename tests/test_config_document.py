"""The fence around YAML (A57): what it refuses, with which line and which words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.document import CONFIG, dotted, parse
from gateway.config.scalars import Surprise


def refused(text: str | bytes) -> list[tuple[str, int | None, str]]:
    raw = text if isinstance(text, bytes) else text.encode()
    return [(one.path, one.line, one.message) for one in parse(raw, "config.yaml").mistakes]


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n"


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("a: &anchor 1\n", 1, "anchors and aliases"),
        ("a: 1\nb: *nowhere\n", 2, "anchors and aliases"),
        ("a: !!python/object:os.system x\n", 1, "tags"),
        ("a: !custom {b: 1}\n", 1, "tags"),
        ("a: !!str 1\n", 1, "tags"),
        ("a: 1\n---\nb: 2\n", 2, "more than one YAML document"),
        ("a:\n  b: 1\n  b: 2\n", 3, "is there twice, first on line 2"),
        ('"a": 1\na: 2\n', 2, "is there twice, first on line 1"),
        ("no: 1\n", 1, 'YAML reads no as true or false; put it in quotes: "no"'),
        ("a:\n  0123: x\n", 2, 'YAML reads 0123 as a number; put it in quotes: "0123"'),
        ("2024-01-01: x\n", 1, "as a date"),
        ("~: x\n", 1, "as nothing"),
        ("? [a, b]\n: x\n", 1, "a key must be plain text"),
        ('"a\\0b": 1\n', 1, "a key must be plain text"),
        ('a: "x\\0y"\n', 1, "holds a control character"),
        ("<<: {a: 1}\n", 1, "merge keys"),
        ("a: [1\nb: 2\n", 2, "not valid YAML"),
        ("a: 'open\n", 2, "not valid YAML"),
        ("a: b: c\n", 1, "not valid YAML"),
        ("a:\n\tb: 1\n", 2, "indent with spaces"),
        ("a: \x07\n", None, "not valid YAML"),
        (b"a: 1\nb: \xff\n", 2, "not UTF-8"),
        (b"a: " + b"x" * CONFIG.max_bytes, None, "larger than"),
        ("[" * (CONFIG.max_depth + 1) + "]" * (CONFIG.max_depth + 1), 1, "levels deep"),
        ("a: " + "{b: " * 5000, 1, "levels deep"),
    ],
)
def test_what_the_fence_refuses_it_refuses_with_line_and_reason(text: str | bytes, line: int | None, word: str):
    found = refused(text)
    assert [(one_line, word in message) for _, one_line, message in found] == [(line, True)]


def test_every_anchor_and_alias_of_a_bomb_is_named_and_none_is_expanded():
    document = parse(BOMB.encode(), "config.yaml")
    assert [one.line for one in document.mistakes] == [1, 2, 2, 2, 3, 3, 3]
    assert document.data is None


def test_depth_up_to_the_limit_is_read():
    assert refused("[" * CONFIG.max_depth + "]" * CONFIG.max_depth) == []


def test_keys_and_items_know_their_lines_and_what_is_below_them_knows_the_nearest():
    document = parse(b"a:\n  b:\n    - 1\n    - {c: 2}\nd: 3\n", "config.yaml")
    lines = {(): None, ("a",): 1, ("a", "b"): 2, ("a", "b", 0): 3, ("a", "b", 1, "c"): 4, ("d",): 5, ("a", "x", "y"): 1}
    assert {path: document.line(path) for path in lines} == lines


@pytest.mark.parametrize("raw", ["0123", "0x1F", "0b11", "1_000", "1:30", "2024-01-01", ".inf", ".nan", "=", "9" * 21])
def test_a_word_that_yaml_reads_otherwise_than_it_looks_becomes_no_value_at_all(raw: str):
    assert parse(f"a: {raw}\n".encode(), "config.yaml").data == {"a": Surprise(raw)}


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("12", 12), ("-3", -3), ("0", 0), ("1.5", 1.5), ("true", True), ("off", False), ("null", None), ("", None),
        ("plain words", "plain words"), ('"0123"', "0123"), ("'no'", "no"), ("tenant:a", "tenant:a"), ("0800", "0800"),
    ],
)  # fmt: skip
def test_plain_values_are_read_as_they_look(raw: str, value: object):
    read = parse(f"a: {raw}\n".encode(), "config.yaml").data["a"]
    assert (read, type(read)) == (value, type(value))


def test_a_byte_order_mark_is_no_part_of_the_first_key():
    assert parse(b"\xef\xbb\xbfa: 1\n", "config.yaml").data == {"a": 1}


@given(st.binary(max_size=200))
def test_no_bytes_at_all_make_the_parser_raise(raw: bytes):
    parse(raw, "config.yaml")


@given(st.text("ab:-[]{}&*!#'\"|>%@,? \n\t0123", max_size=80))
def test_no_text_at_all_makes_the_parser_raise(text: str):
    parse(text.encode(), "config.yaml")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("a", "b"), "a.b"),
        (("a", 0, "b"), "a[0].b"),
        (("mcp_servers", "p", "tenant:a"), "mcp_servers.p.tenant:a"),
        (("a", "x.y", ""), 'a."x.y".""'),
        ((), ""),
    ],
)
def test_paths_are_written_so_that_a_key_with_a_dot_stays_one_key(path: tuple[str | int, ...], text: str):
    assert dotted(path) == text
