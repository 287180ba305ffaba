"""API keys as text: their form and their checksum."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import keys

KEYS = st.builds(lambda body: keys.PREFIX + body + keys.checksum(body), st.from_regex(r"\A[A-Za-z0-9_-]{43}\Z"))


def test_a_key_is_mcp_43_random_characters_and_6_of_checksum():
    made = {keys.mint() for _ in range(50)}
    assert len(made) == 50
    assert all(re.fullmatch(r"mcp_[A-Za-z0-9_-]{43}[0-9A-Za-z]{6}", key) and keys.looks_like_key(key) for key in made)


@given(KEYS)
def test_every_body_of_43_characters_makes_a_key_with_its_checksum(key: str):
    assert keys.looks_like_key(key)


@given(KEYS, st.integers(4, 52), st.characters(codec="ascii", categories=["L", "N"]))
def test_one_mistyped_character_is_noticed_without_looking_anything_up(key: str, at: int, typed: str):
    mistyped = key[:at] + typed + key[at + 1 :]
    assert keys.looks_like_key(mistyped) is (mistyped == key)


@pytest.mark.parametrize("text", ["", "mcp_", "mcpt_" + "a" * 43, "mcp_" + "a" * 49, "mcp_" + "é" * 49])
def test_what_only_begins_like_a_key_is_none(text: str):
    assert not keys.looks_like_key(text)


def test_a_line_end_is_no_part_of_a_key():
    assert not keys.looks_like_key(keys.mint() + "\n")


def test_only_the_sha_256_of_a_key_is_kept_and_its_first_12_characters_shown():
    assert keys.sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    key = keys.mint()
    assert keys.shown(key) == key[:12]
