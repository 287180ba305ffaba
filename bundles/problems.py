"""What is wrong with sync at the moment, for its log and its health."""

from __future__ import annotations

import logging

LOG = logging.getLogger("portcullis.sync")


class Problems:
    """By what is wrong, why; each is logged when it begins, changes and ends."""

    def __init__(self) -> None:
        self._why: dict[str, str] = {}

    def __contains__(self, what: str) -> bool:
        return what in self._why

    def note(self, what: str, why: str | None) -> None:
        """Note what is wrong, or with None that it is well again."""
        if why is None:
            if self._why.pop(what, None):
                LOG.info("%s: well again", what)
        elif self._why.get(what) != why:
            self._why[what] = why
            LOG.error("%s: %s", what, why)

    def listed(self) -> list[str]:
        """Return all of them, sorted."""
        return [f"{what}: {why}" for what, why in sorted(self._why.items())]
