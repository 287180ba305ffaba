"""Who calls, as far as the protocol goes: what an agent says that it can, which no policy believes."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.mcp.eras import UNNAMED_VERSION, Era


# A struct, because each call has one: a dataclass takes five times as long to make.
class Agent(msgspec.Struct, frozen=True):
    """The agent's side of one request.

    `capabilities` are those that a server may use through this gateway, `session` names the one that an agent of the
    older era is in, `level` is the least severe log message that it asked for.
    """

    era: Era = Era.LEGACY
    version: str = UNNAMED_VERSION
    capabilities: dict[str, Any] = {}
    session: str | None = None
    level: str | None = None

    @property
    def threshold(self) -> str | None:
        """The least severe log message that is passed on; in a session that set none, the server decides."""
        return self.level if self.level is not None or self.session is None else "debug"

    @property
    def is_asked_midway(self) -> bool:
        """Whether it answers requests of a server while its own is under way, as was done before 2026-07-28."""
        return self.session is not None and bool(self.capabilities)
