"""docs/configuration.md knows every key, with its default, and no key that is not."""

from __future__ import annotations

import re

import pytest

from gateway.config.loader import MACHINE_LOCAL
from gateway.config.mistakes import all_keys
from gateway.config.reloading import RESTART
from tests.support.files import ROOT

DOCS = (ROOT / "docs" / "configuration.md").read_text()
WORDS = set(re.findall(r"[A-Za-z_]+", " ".join(re.findall(r"`([^`]+)`", DOCS))))


@pytest.mark.parametrize("key", sorted({str(path[-1]) for path in all_keys()}))
def test_every_key_is_documented(key: str):
    assert key in WORDS


@pytest.mark.parametrize(
    ("paths", "begin"), [(RESTART, "These need a restart"), (MACHINE_LOCAL, "A configuration has a hash")]
)
def test_lists_of_keys_in_the_docs_are_those_of_the_code(paths: tuple[tuple[str, ...], ...], begin: str):
    (sentence,) = (line for line in DOCS.splitlines() if line.startswith(begin))
    assert set(re.findall(r"`([^`]+)`", sentence)) == {".".join(path) for path in paths}
