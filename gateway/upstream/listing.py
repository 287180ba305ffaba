"""Every page of what a server offers, within bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.mcp.answers import Unusable
from gateway.mcp.definitions import page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.mcp.answers import Answer
    from gateway.mcp.sections import Section

    ListPage = Callable[[str, str | None], Awaitable[Answer]]

MAX_PAGES = 100
MAX_LISTED_BYTES = 32 * 1024 * 1024


async def definitions(section: Section, list_page: ListPage) -> list[bytes]:
    """Return the definitions of all pages of one list, unchecked; `list_page` asks for one, by method and cursor.

    Raises Unusable where there are too many, or no end of them.
    """
    found: list[bytes] = []
    cursor, seen, size = None, set[str](), 0
    for _ in range(MAX_PAGES):
        listed = page(section, await list_page(section.method, cursor))
        found += listed.definitions
        size += sum(map(len, listed.definitions))
        cursor = listed.next_cursor
        if len(found) > section.most:
            raise Unusable(f"lists more than {section.most} {section.things}")
        if cursor is None:
            return found
        if cursor in seen or size > MAX_LISTED_BYTES:
            break
        seen.add(cursor)
    raise Unusable(f"lists its {section.things} without an end")
