"""Every page of what a server offers, within bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import UpstreamFailed
from gateway.mcp.tools import page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.mcp.answers import Answer

MAX_PAGES = 100
MAX_LISTED_BYTES = 32 * 1024 * 1024
# Every tool is in policy's data for every tenant that is offered it, so one server could otherwise fill everybody's.
MAX_TOOLS = 5000


async def definitions(server: str, list_page: Callable[[str | None], Awaitable[Answer]]) -> list[bytes]:
    """Return the definitions of all pages; raises UpstreamFailed where there are too many, or no end of them."""
    found: list[bytes] = []
    cursor, seen, size = None, set[str](), 0
    for _ in range(MAX_PAGES):
        listed = page(await list_page(cursor))
        found += listed.definitions
        size += sum(map(len, listed.definitions))
        cursor = listed.next_cursor
        if len(found) > MAX_TOOLS:
            raise UpstreamFailed(server, f"lists more than {MAX_TOOLS} tools")
        if cursor is None:
            return found
        if cursor in seen or size > MAX_LISTED_BYTES:
            break
        seen.add(cursor)
    raise UpstreamFailed(server, "lists its tools without an end")
