"""The files that sync publishes: the configuration, users' Rego, and the policy that ships with the product."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import policies
from bundles.bundle import Content
from gateway.config import load
from gateway.config.reloading import reload
from gateway.errors import ConfigError, Mistake

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from bundles.custom import CustomPolicy
    from gateway.config import Config, Loaded

LOG = logging.getLogger("portcullis.sync")


class Sources:
    """The files as last read without a mistake; `generation` counts the readings that differed."""

    def __init__(self, path: Path, load_custom: Callable[[Config], Awaitable[CustomPolicy]]) -> None:
        self.path = path
        self.generation = 0
        self.mistakes: tuple[Mistake, ...] = ()
        self._load_custom = load_custom
        self._loaded: Loaded | None = None
        self._custom: Content | None = None

    @property
    def loaded(self) -> Loaded:
        """The configuration in force."""
        if self._loaded is None:
            raise RuntimeError("read() was not called")
        return self._loaded

    @property
    def custom(self) -> Content:
        """The content of the bundle `custom`; it has no package where there is no custom policy."""
        if self._custom is None:
            raise RuntimeError("read() was not called")
        return self._custom

    async def read(self) -> None:
        """Read everything for the first time; raises ConfigError with every mistake."""
        await self._take(await asyncio.to_thread(load, self.path))

    async def _take(self, loaded: Loaded) -> None:
        custom = custom_content(await self._load_custom(loaded.config))
        if self._loaded is None or self._loaded.hash != loaded.hash or self._custom != custom:
            self.generation += 1
        self._loaded, self._custom, self.mistakes = loaded, custom, ()

    async def reread(self, recorded: str | None = None) -> None:
        """Read everything again; a mistake is logged and kept for operators, and what was in force stays.

        So does what only a restart of the gateway can change, unless the ledger has `recorded` that hash: then a
        gateway was restarted, and without this one following it nothing would be admitted.
        """
        before = self.generation
        try:
            fresh = await asyncio.to_thread(load, self.path)
            await self._take(fresh if fresh.hash == recorded else await asyncio.to_thread(reload, self.loaded))
        except ConfigError as error:
            if error.mistakes != self.mistakes:
                LOG.error("the files are refused, the last good ones stay in force:\n%s", error)
            self.mistakes = error.mistakes
        if self.generation != before:
            LOG.info("files changed: configuration %s", self.loaded.hash[:12])


def policy_content() -> Content:
    """Return the product's own Rego, tests left out."""
    found = sorted((policies.ROOT / "portcullis").rglob("*.rego"))
    kept = [path for path in found if not path.name.endswith("_test.rego")]
    return Content("portcullis", {path.relative_to(policies.ROOT).as_posix(): path.read_bytes() for path in kept})


def custom_content(custom: CustomPolicy) -> Content:
    """Return users' Rego as a bundle; its manifest names the packages that policy must find defined."""
    packages = {name: list(rules) for name, rules in sorted(custom.packages.items())}
    return Content("custom", dict(custom.files), {"packages": packages})
