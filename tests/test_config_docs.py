"""docs/configuration.md and docs/tenants.md know every key."""

from __future__ import annotations

import re

import pytest

from gateway.config.forms import CATALOG, CONFIG, TENANTS, Form
from gateway.config.known import all_keys
from gateway.config.meaning import MACHINE_LOCAL
from gateway.config.reloading import RESTART
from gateway.config.schema import Config
from gateway.config.tenants import Catalog, TenantsFile
from gateway.permissions import BUILT_IN, Permission
from tests.support.files import ROOT

DOCS = (ROOT / "docs" / "configuration.md").read_text()
OF_TENANTS = (ROOT / "docs" / "tenants.md").read_text()


def words(page: str) -> set[str]:
    """Return what stands in backticks, word by word."""
    return set(re.findall(r"[A-Za-z_]+", " ".join(re.findall(r"`([^`\n]+)`", page))))


@pytest.mark.parametrize(
    "key", sorted({str(path[-1]) for path in all_keys(Config) if path[:2] != ("tenants", "<number>")})
)
def test_every_key_of_the_configuration_is_documented(key: str):
    assert key in words(DOCS)


@pytest.mark.parametrize("root", [TenantsFile, Catalog])
def test_every_key_of_tenants_and_catalogs_is_documented(root: type):
    assert {str(path[-1]) for path in all_keys(root)} <= words(OF_TENANTS) | {"allow_list", "deny_list"}


def test_roles_and_permissions_in_the_docs_are_those_of_the_code():
    rows = re.findall(r"^\| `(\w+)` \| (`[^|]*`) \|$", DOCS, re.MULTILINE)
    found = {role: set(re.findall(r"`([^`]+)`", grants)) for role, grants in rows if role in BUILT_IN}
    assert found == {role: set(grants) for role, grants in BUILT_IN.items()}
    (sentence,) = (line for line in DOCS.splitlines() if line.startswith("Every permission:"))
    assert re.findall(r"`([^`]+)`", sentence) == list(Permission)


@pytest.mark.parametrize("form", [CONFIG, TENANTS, CATALOG])
def test_the_bounds_in_the_docs_are_those_of_the_code(form: Form[object]):
    size = form.bounds.max_bytes
    written = f"{size // 1024**2} MiB" if size >= 1024**2 else f"{size // 1024} KiB"
    (sentence,) = (line for line in DOCS.splitlines() if line.startswith("* YAML, UTF-8"))
    assert re.search(rf"{written} and {form.bounds.max_depth}\b", sentence)


@pytest.mark.parametrize(
    ("paths", "begin"), [(RESTART, "These need a restart"), (MACHINE_LOCAL, "A configuration has a hash")]
)
def test_lists_of_keys_in_the_docs_are_those_of_the_code(paths: tuple[tuple[str, ...], ...], begin: str):
    (sentence,) = (line for line in DOCS.splitlines() if line.startswith(begin))
    assert set(re.findall(r"`([^`]+)`", sentence)) == {".".join(path) for path in paths}
