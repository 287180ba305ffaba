"""Each content of a bundle has a revision of its own: it is recorded in the ledger before it is published.

So what bears one revision says one thing, whichever sync made it and however often sync was started in between, and a
copy of what was there before is older by its number: that is how a gateway tells it (gateway/pdp/provenance.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from bundles.bundle import Content
    from gateway.ledger import Ledger
    from gateway.model import AuditEvent


@dataclass(frozen=True, slots=True)
class Recorded:
    """A content, its digest, and the revision that recorded it."""

    content: Content
    digest: str
    revision: int


class Record:
    """What this sync has recorded; `event` makes the audit event of a new policy from its bundle's name and content."""

    def __init__(self, event: Callable[[str, Content], AuditEvent | None]) -> None:
        self._event = event
        self._known: dict[str, Recorded] = {}

    def of(self, name: str) -> Recorded | None:
        """Return what was recorded last, None where nothing was."""
        return self._known.get(name)

    def forget(self) -> None:
        """Know nothing any more: the ledger is another one."""
        self._known.clear()

    async def put(self, ledger: Ledger, name: str, content: Content) -> Recorded:
        """Record the content, unless it is what was recorded last; raises Unavailable.

        What another sync has recorded since is left alone: to take turns would be news for ever.
        """
        known = self._known.get(name)
        if known is not None and known.content is content:
            return known  # Asked at every revision; taking the digest of policy again would be most of the work.
        digest = content.digest()
        same = known is not None and known.digest == digest
        revision = known.revision if known and same else await self._revision(ledger, name, content, digest)
        recorded = self._known[name] = Recorded(content, digest, revision)
        return recorded

    async def _revision(self, ledger: Ledger, name: str, content: Content, digest: str) -> int:
        for one in await ledger.bundles():
            if (one.name, one.digest) == (name, digest):
                return one.revision  # A ledger that can only be read has it already.
        return await ledger.note_bundle(name, digest, self._event(name, content))
