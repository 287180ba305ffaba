"""The configuration read, checked and hashed: config.yaml and tenants.yaml whole or not at all, catalogs one by one."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gateway.config.catalogs import Catalogs
from gateway.config.contents import Terms
from gateway.config.document import parse
from gateway.config.forms import CATALOG, CONFIG
from gateway.config.lines import Lines
from gateway.config.meaning import config_hash
from gateway.config.memory import Memory
from gateway.config.references import Context
from gateway.config.rules import refusals
from gateway.config.source import Source
from gateway.config.standing import Judge
from gateway.config.tenants_file import Rows, read_rows, row_findings
from gateway.config.validate import validated
from gateway.config.warnings import warnings
from gateway.errors import ConfigError, Mistake

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from gateway.config.findings import Finding
    from gateway.config.memory import Look
    from gateway.config.schema import Config
    from gateway.config.standing import KeptBack, Standing


# Enough of a hash to tell one configuration from another in every decision.
CONFIG_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that holds together; `files` are all that it was read from, catalogs and secrets included.

    `digest` is of their contents: not of the meaning, as `hash` is. `kept_back` are the tenants whose catalogs are not
    in force as they lie there. `documents` are files that say what is in force, secrets aside, where memory keeps them.
    """

    config: Config
    hash: str
    source: Source
    warnings: tuple[str, ...]
    files: tuple[Path, ...] = ()
    digest: str = field(default="", repr=False)
    overrides: tuple[str | None, int | None] = (None, None)
    kept_back: tuple[KeptBack, ...] = ()
    memory: Memory = field(default_factory=Memory, repr=False, compare=False)
    standings: Mapping[str, Standing] = field(default_factory=dict, repr=False, compare=False)
    documents: Mapping[Path, bytes] = field(default_factory=dict, repr=False, compare=False)

    @property
    def name(self) -> str:
        """What decisions call it: the first digits of its hash."""
        return self.hash[:CONFIG_DIGITS]

    @property
    def path(self) -> Path:
        """Where config.yaml is."""
        return self.source.config

    def with_server(self, host: str | None = None, port: int | None = None) -> Loaded:
        """Return the same with the listener's host or port replaced, as `--host` and `--port` do."""
        overrides = (host or self.overrides[0], self.overrides[1] if port is None else port)
        if overrides == (None, None):
            return self
        changes: dict[str, Any] = dict(zip(("host", "port"), overrides, strict=True))
        server = self.config.server.model_copy(update={key: one for key, one in changes.items() if one is not None})
        config = self.config.model_copy(update={"server": server})
        return replace(self, config=config, warnings=_warnings(config, self.kept_back), overrides=overrides)


@dataclass(frozen=True, slots=True)
class _Read:
    """config.yaml by itself; `config` is None where nothing can be made of it, `rows` where it has a mistake."""

    config: Config | None
    rows: Rows | None
    mistakes: tuple[Mistake, ...]


def load(
    source: Source | Path,
    environ: Mapping[str, str] | None = None,
    before: Loaded | None = None,
    memory: Memory | None = None,
) -> Loaded:
    """Read a configuration; raises ConfigError with every mistake in config.yaml and tenants.yaml.

    With `before`, which is in force, a catalog with a mistake keeps its last good version; without, it suspends its
    tenant. What was made of files since unchanged is taken from `memory`, or else from that of `before`.
    """
    source = Source.of(source)
    memory = memory or (before.memory if before else Memory())
    with memory.look(os.environ if environ is None else environ) as look:
        read = _config(source, look)
        rows, mistakes = _rows(source, read, look)
        if mistakes or read.config is None or rows is None:
            raise ConfigError(mistakes)
        standings = _standings(read.config, rows, look, before)
        documents = look.documents() | _good_ones(rows, standings) if memory.keep else {}
        look.complete()
    config = read.config.model_copy(update={"tenants": tuple(one.tenant for one in standings.values())})
    kept_back = tuple(one.kept_back for one in standings.values() if one.kept_back)
    return Loaded(
        config=config,
        hash=config_hash(read.config, source.folder, (one.digest for one in standings.values())),
        source=source,
        warnings=_warnings(config, kept_back),
        files=tuple(look.seen),
        digest=look.digest,
        kept_back=kept_back,
        memory=memory,
        standings=standings,
        documents=documents,
    )


def _warnings(config: Config, kept_back: Sequence[KeptBack]) -> tuple[str, ...]:
    return tuple(warnings(config, {one.tenant for one in kept_back if one.suspended}))


def _config(source: Source, look: Look) -> _Read:
    path, folder = source.config, source.folder

    def rules(config: Config) -> Iterator[Finding]:
        yield from refusals(config)
        yield from row_findings(tuple(enumerate(config.tenants)), folder, (folder,))

    def make(raw: bytes) -> tuple[_Read, Context]:
        context = Context(folder, look.environ)
        document = parse(raw, str(path), CONFIG.bounds)
        found = validated(document, CONFIG, rules, context)
        if found.value is None or found.mistakes:
            return _Read(found.value, None, found.mistakes), context
        rows = Rows.of(found.value.tenants, folder, (folder,), Lines(path, CONFIG.bounds))
        return _Read(found.value, rows, ()), context

    try:
        return look.made("config", path.absolute(), Terms(CONFIG.bounds.max_bytes), (), make)
    except OSError as error:
        absent = "; write one, or name another with --config" if isinstance(error, FileNotFoundError) else ""
        return _Read(None, None, (Mistake(str(path), "", None, f"cannot be read: {error.strerror}{absent}"),))


def _rows(source: Source, read: _Read, look: Look) -> tuple[Rows | None, tuple[Mistake, ...]]:
    """Return the tenants, from wherever they are defined, and every mistake in them."""
    path = source.tenants or (read.config.tenants_file if read.config else None)
    if path is None:
        return read.rows, read.mistakes
    rows, mistakes = read_rows(path, look, (source.folder, path.absolute().parent))
    if source.tenants and read.config and read.config.tenants:
        message = "tenants are in this file too, and --tenants names another; keep one of them"
        mistakes = (Mistake(str(source.config), "tenants", None, message), *mistakes)
    return rows, (*read.mistakes, *mistakes)


def _good_ones(rows: Rows, standings: Mapping[str, Standing]) -> dict[Path, bytes]:
    """Return the last good catalogs that are in force in the place of what lies there."""
    return {
        path: CATALOG.adapter.dump_json(catalog, exclude_defaults=True)
        for row, path in zip(rows.tenants, rows.paths, strict=True)
        if path and standings[row.id].kept_back and (catalog := standings[row.id].tenant.catalog)
    }


def _standings(config: Config, rows: Rows, look: Look, before: Loaded | None) -> dict[str, Standing]:
    same = before is not None and before.config.mcp_servers == config.mcp_servers
    judge = Judge(config, rows, before.standings if before else {}, same_servers=same)
    catalogs = Catalogs(rows, look)
    found = (judge.standing(index, catalogs.draft(index)) for index in range(len(rows.tenants)))
    return {one.row.id: one for one in found}
