"""What one server offers: every list that it has declared, listed as a whole."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gateway.mcp.answers import Unusable
from gateway.mcp.definitions import NotServed, usable
from gateway.mcp.sections import SECTIONS, TOOLS
from gateway.upstream.listing import definitions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.mcp.definitions import Definition, Offered
    from gateway.mcp.params import ParamHeaders
    from gateway.mcp.sections import Section
    from gateway.upstream.era import Declared
    from gateway.upstream.listing import ListPage

LOG = logging.getLogger("portcullis.inventory")


class Offering:
    """Lists one server again and again; `list_page` asks for a page, by method and cursor.

    `dropped` is how much of what was listed last cannot be offered.
    """

    def __init__(self, server: str, list_page: ListPage) -> None:
        self.dropped = 0
        self._server = server
        self._list_page = list_page
        self._last: Offered = {}
        self._param_headers: Mapping[str, ParamHeaders] = {}

    def param_headers(self, tool: str) -> ParamHeaders:
        """Return which arguments of a tool are repeated in headers."""
        return self._param_headers.get(tool, ())

    async def listed(self, declared: Declared) -> Offered:
        """Return what the server offers now; raises UpstreamFailed, and Unusable where it does not list its tools.

        Of another list that it has and does not give, what it gave last stays: its tools are as good as ever.
        """
        found: Offered = {}
        dropped = 0
        for method, section in SECTIONS.items():
            if section.kind in declared.has:
                found[method], out = await self._section(section)
                dropped += out
        tools = found.get(TOOLS.method, ())
        self._param_headers = {tool.name: tool.headers for tool in tools if tool.headers}
        self.dropped, self._last = dropped, found
        return found

    async def _section(self, section: Section) -> tuple[tuple[Definition, ...], int]:
        try:
            texts = await definitions(section, self._list_page)
        except NotServed:
            # Many have resources and no templates, and one capability for both.
            if section is TOOLS:
                raise
            return (), 0
        except Unusable as error:
            if section is TOOLS:
                raise
            LOG.warning("%s %s", self._server, error)
            return self._last.get(section.method, ()), 0
        # Beside the loop: thousands of definitions take seconds to check, and nobody else's call waits for them.
        return await asyncio.to_thread(usable, section, texts)
