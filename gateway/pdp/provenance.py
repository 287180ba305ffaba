"""Whether the bundles that OPA decides by are any that it has decided by before, only older: a rollback (A33).

A signature says who made a bundle and not when, so a copy of last week is signed as well as today's. The live bundle's
revision is in every decision and held to the high-water mark; the revisions of the other three are looked at here,
often and after each start of OPA. Until they have been looked at, nothing is decided.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from gateway.errors import DecisionUnavailable
from gateway.pdp.kept import Kept

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from gateway.pdp.client import OpaClient

LOG = logging.getLogger("portcullis.pdp")
MANIFESTS = "/v1/data/system/bundles"
HELD = ("policy", "custom", "tenants")


class _Manifest(msgspec.Struct, frozen=True):
    revision: str


class _Bundle(msgspec.Struct, frozen=True):
    manifest: _Manifest


class _Bundles(msgspec.Struct, frozen=True):
    policy: _Bundle
    custom: _Bundle
    tenants: _Bundle


class _Answer(msgspec.Struct, frozen=True):
    result: _Bundles


class _Seen(msgspec.Struct, frozen=True):
    epoch: str
    revisions: dict[str, int]


class Provenance:
    """The highest revision of each bundle that was seen in an epoch, kept in a file.

    `life` counts the starts of OPA that are known of: a look counts for the life that it was taken in.
    """

    def __init__(self, client: OpaClient, path: Path, *, epoch: Callable[[], str], life: Callable[[], int]) -> None:
        """Read the file, if there is one; raises ConfigError for one that cannot be read."""
        self._client = client
        self._epoch = epoch
        self._life = life
        self._kept = Kept(path, _Seen, "what was seen of the bundles")
        self._trusted_in: int | None = None
        self._why = "the bundles have not been looked at yet"

    def distrust(self) -> str | None:
        """Return why nothing may be decided by these bundles, None if it may."""
        return None if self._trusted_in == self._life() else self._why

    async def look(self) -> bool:
        """Look at the bundles that OPA has, and return whether they are to be trusted.

        Where OPA does not answer, what was found last stays: without an answer there is no decision either.
        """
        life, epoch = self._life(), self._epoch()
        try:
            revisions = _revisions(await self._client.query(MANIFESTS, b"{}", lane="provenance"))
        except DecisionUnavailable:
            return self.distrust() is None
        seen = self._kept.value
        known = seen.revisions if seen and seen.epoch == epoch else {}
        older = [name for name in HELD if revisions[name] < known.get(name, 0)]
        if older:
            self._refuse(older, revisions, known)
            return False
        self._trusted_in = life
        if revisions != known:
            self._kept.put(_Seen(epoch, revisions))
        return True

    async def close(self) -> None:
        """Return once what was seen is on disk, or its writing has failed once more."""
        await self._kept.close()

    def _refuse(self, older: list[str], revisions: Mapping[str, int], known: Mapping[str, int]) -> None:
        rows = [f"{name} is r{revisions[name]} and was r{known[name]}" for name in older]
        why = f"bundles were rolled back: {', '.join(rows)}"
        if why != self._why:
            LOG.error("nothing is decided: %s", why)
        self._trusted_in, self._why = None, why


def _revisions(answer: bytes) -> dict[str, int]:
    try:
        bundles = msgspec.json.decode(answer, type=_Answer).result
        found = {name: getattr(bundles, name).manifest.revision for name in HELD}
        return {name: int(revision.removeprefix("r")) for name, revision in found.items()}
    except (msgspec.DecodeError, ValueError) as error:
        raise DecisionUnavailable("OPA does not say which bundles it has") from error
