"""Folders with a config.yaml, a tenants.yaml and catalogs, as operators lay them out."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from gateway.config import Loaded, Source, load
from gateway.config.reloading import reload
from gateway.errors import ConfigError
from tests.support.files import written

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """\
tool_access: {mode: front_door}
auth: {enabled: true}
tenants_file: tenants.yaml
mcp_servers:
  payments: {mode: remote, endpoint: "http://localhost/payments"}
  search: {mode: remote, endpoint: "http://localhost/search"}
"""


def key_hash(text: str) -> str:
    """Return the hash of a key as tenants.yaml writes it."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


# The file of the documentation, with real hashes in it.
TENANTS = f"""\
tenants:
  - id: team-a
    display_name: Team Alpha
    namespace: mcp-team-a
    catalog_file: catalogs/team-a.yaml
    api_keys:
      - key_hash: "{key_hash("a-production")}"
        name: "production"
      - key_hash: "{key_hash("a-development")}"
        name: "development"
    quotas:
      max_servers: 5
      max_concurrent_requests: 100
      requests_per_minute: 6000      # optional
  - id: team-b
    display_name: Team Beta
    namespace: mcp-team-b
    catalog_file: catalogs/team-b.yaml
    api_keys:
      - key_hash: "{key_hash("b")}"
    quotas:
      max_servers: 10
"""
A = """\
servers:
  payments:
    tools: {deny_list: [refund]}
mcp_servers:
  reports: {mode: remote, endpoint: https://reports.example.com/mcp}
"""
B = "servers:\n  search: {}\n"


class Teams:
    """A configuration directory, and what was last loaded from it."""

    def __init__(self, folder: Path, *, config: str = CONFIG, tenants: str = TENANTS, a: str = A, b: str = B) -> None:
        self.folder = folder
        self.environ: dict[str, str] = {}
        self.loaded: Loaded | None = None
        self.write(config, "config.yaml")
        self.write(tenants, "tenants.yaml")
        self.write(a, "catalogs/team-a.yaml")
        self.write(b, "catalogs/team-b.yaml")

    def write(self, text: str, name: str) -> Path:
        """Replace one of the files, as editors do."""
        new = written(self.folder, text, f"{name}.new")
        return new.rename(self.folder / name)

    def load(self, tenants: Path | None = None) -> Loaded:
        """Load as a start does."""
        self.loaded = load(Source(self.folder / "config.yaml", tenants), self.environ)
        return self.loaded

    def reload(self) -> Loaded:
        """Load as a running gateway does, and put it in force."""
        assert self.loaded is not None
        self.loaded = reload(self.loaded, self.environ)
        return self.loaded

    def mistakes(self) -> list[tuple[str, str, int | None, str]]:
        """Return what is wrong, as (file, path, line, message): what refuses all, or else what keeps tenants back."""
        try:
            loaded = self.load()
        except ConfigError as error:
            found = error.mistakes
        else:
            found = tuple(mistake for one in loaded.kept_back for mistake in one.mistakes)
        return [(one.file.removeprefix(f"{self.folder}/"), one.path, one.line, one.message) for one in found]


def kept(loaded: Loaded) -> dict[str, bool]:
    """Return which tenants' catalogs are kept back, and whether the tenant is suspended for it."""
    return {one.tenant: one.suspended for one in loaded.kept_back}


def offered(loaded: Loaded) -> dict[str, list[str] | None]:
    """Return the servers of each tenant's catalog, shared ones first; None of one that is suspended."""
    found: dict[str, list[str] | None] = {}
    for tenant in loaded.config.tenants:
        catalog = tenant.catalog
        listed = [*sorted(catalog.servers), *sorted(f"{tenant.id}:{id_}" for id_ in catalog.own)] if catalog else []
        found[tenant.id] = listed if tenant.active else None
    return found
