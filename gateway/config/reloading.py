"""A reload: the same file again, whole or not at all, and nothing in it that only a restart can change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.config.loader import load
from gateway.errors import ConfigError, Mistake

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.config.loader import Loaded
    from gateway.config.schema import Config

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
    ("logging",),
)


def reload(current: Loaded, environ: Mapping[str, str] | None = None) -> Loaded:
    """Read the file of `current` again, keeping `--host` and `--port`.

    Raises ConfigError with every mistake, one for each setting that was changed and needs a restart included.
    """
    fresh = load(current.path, environ).with_server(*current.overrides)
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
