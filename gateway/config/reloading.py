"""A reload: the same files again, and nothing in them that only a restart can change."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.config.loader import load
from gateway.errors import ConfigError, Mistake

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.config.loader import Loaded
    from gateway.config.schema import Config
    from gateway.config.standing import KeptBack

LOG = logging.getLogger("portcullis.config")

# Listeners, files and processes are set up once; who is let in at all must not turn on an edit that nobody watches.
RESTART: tuple[tuple[str, ...], ...] = (
    ("tool_access", "mode"),
    ("auth", "enabled"),
    ("auth", "opa"),
    ("server",),
    ("opa", "binary"),
    ("opa", "replica"),
    ("opa", "custom_policies"),
    ("sync",),
    ("storage",),
    ("audit", "file"),
    ("metrics",),
    ("tracing",),
    ("logging",),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of reading the files again; `hash` is that of the configuration that is in force now.

    `mistakes` are why config.yaml and tenants.yaml are refused, `kept_back` the tenants whose catalogs are not in
    force as they lie there, and `trouble` is why what was read could not be put in force, which is tried again.
    """

    hash: str
    mistakes: tuple[Mistake, ...] = ()
    kept_back: tuple[KeptBack, ...] = ()
    trouble: str | None = None

    @property
    def in_force(self) -> bool:
        """Whether the files, as they were read, are in force; catalogs that are kept back aside."""
        return not self.mistakes and self.trouble is None


def reload(current: Loaded, environ: Mapping[str, str] | None = None, *, settled: str | None = None) -> Loaded:
    """Read the files of `current` again, keeping `--host` and `--port`.

    Raises ConfigError with every mistake, one for each setting that was changed and needs a restart included. Where
    the hash comes out as `settled`, somebody has been restarted with it, and no setting is refused.
    """
    fresh = load(current.source, environ, current).with_server(*current.overrides)
    if fresh.hash == settled:
        return fresh
    mistakes = tuple(
        Mistake(str(current.path), path, None, "was changed and needs a restart; nothing of the file is in force yet")
        for path in needs_restart(current.config, fresh.config)
    )
    if mistakes:
        raise ConfigError(mistakes)
    return fresh


def needs_restart(old: Config, new: Config) -> Iterator[str]:
    """Yield the dotted path of every changed setting that a running gateway cannot take up."""
    for path in RESTART:
        if _at(old, path) != _at(new, path):
            yield ".".join(path)


def _at(config: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        config = getattr(config, step)
    return config


def report(before: Sequence[KeptBack], now: Sequence[KeptBack]) -> None:
    """Log which tenants' catalogs are kept back since then, with every mistake, and which no longer are."""
    known, current = {one.tenant: one for one in before}, {one.tenant for one in now}
    for one in now:
        if known.get(one.tenant) != one:
            for mistake in one.mistakes:
                LOG.error("%s: %s", standing_of(one), mistake)
    for tenant in sorted(known.keys() - current):
        LOG.info("tenant %s: its catalog is in force", tenant)


def standing_of(one: KeptBack) -> str:
    """Say what is in force of a tenant whose catalog is kept back."""
    return f"tenant {one.tenant} is suspended" if one.suspended else f"tenant {one.tenant} keeps its last good catalog"
