"""What sync publishes that comes from files: the configuration, users' Rego, and the product's own policy."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import policies
from bundles.bundle import Content
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bundles.configurations import Configurations
    from bundles.custom import CustomPolicy
    from gateway.config import Config, Loaded
    from gateway.errors import Mistake

LOG = logging.getLogger("portcullis.sync")


class Sources:
    """The files as they are to be published; `generation` counts the readings that differed.

    `custom` is the content of the bundle `custom`, which has no package where there is no custom policy. It is None
    where the policy was refused since the start: then nothing is known that could be published in its place.
    """

    def __init__(
        self, configurations: Configurations, load_custom: Callable[[Config], Awaitable[CustomPolicy]]
    ) -> None:
        self.configurations = configurations
        self.generation = 0
        self.custom: Content | None = None
        self._load_custom = load_custom
        self._folder: str | None = None
        """Where custom policy was last read; before the first time it is no folder's name."""
        self._asked = asyncio.Event()
        self._asked.set()
        self._reading = asyncio.Lock()
        self._refused: tuple[Mistake, ...] = ()
        self._seen: tuple[object, ...] = ()

    @property
    def loaded(self) -> Loaded | None:
        """The configuration to publish, None where none may be."""
        return self.configurations.in_force

    @property
    def refused(self) -> bool:
        """Whether custom policy was refused since the start, so that there is none to publish."""
        return self.custom is None and bool(self._refused)

    def problems(self) -> list[str]:
        """Return what is wrong with the files."""
        lost = ["custom: a replica that has none admits nothing until it is mended"] if self.refused else []
        return [*self.configurations.problems(), *map(str, self._refused), *lost]

    def follow(self, recorded: str | None) -> None:
        """Go by the configuration that the ledger records; what has to be read for that is read by `run`."""
        if self.configurations.follow(recorded) or self._folder != self._folder_now():
            self._asked.set()
        self._count()

    async def run(self, changed: Callable[[], None]) -> None:
        """Read what is asked for, beside everything else: it may take seconds, and no withdrawal waits for it."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            async with self._reading:
                await self.configurations.catch_up()
                if self._folder != self._folder_now():
                    await self._read_custom()
            self._count()
            changed()

    async def reread(self) -> None:
        """Read everything again; what is wrong is logged and kept for operators, and what was in force stays."""
        async with self._reading:
            await self.configurations.reread()
            await self.configurations.catch_up()
            await self._read_custom()
        self._count()

    def _folder_now(self) -> str:
        return str(self.configurations.known.config.opa.custom_policies)

    async def _read_custom(self) -> None:
        self._folder = self._folder_now()
        try:
            self.custom = custom_content(await self._load_custom(self.configurations.known.config))
        except ConfigError as error:
            if error.mistakes != self._refused:
                rest = "the last good one stays" if self.custom else "none is published until it is mended"
                LOG.error("custom policy is refused, %s:\n%s", rest, error)
            self._refused = error.mistakes
        else:
            self._refused = ()

    def _count(self) -> None:
        seen = (self.loaded.hash if self.loaded else None, self.custom, self.refused)
        if seen != self._seen:
            self._seen = seen
            self.generation += 1


def policy_content() -> Content:
    """Return the product's own Rego, tests left out."""
    found = sorted((policies.ROOT / "portcullis").rglob("*.rego"))
    kept = [path for path in found if not path.name.endswith("_test.rego")]
    return Content("portcullis", {path.relative_to(policies.ROOT).as_posix(): path.read_bytes() for path in kept})


def custom_content(custom: CustomPolicy) -> Content:
    """Return users' Rego as a bundle; its manifest names the packages that policy must find defined."""
    packages = {name: list(rules) for name, rules in sorted(custom.packages.items())}
    return Content("custom", dict(custom.files), {"packages": packages})
