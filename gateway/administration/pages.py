"""Pages of lists, and the cursors from one to the next."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from gateway.errors import InvalidBody

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")


def page(
    name: str, found: Sequence[T], limit: int, document: Callable[[T], Any], where: Callable[[T], Any]
) -> dict[str, Any]:
    """Return a page of a list of which one more than the limit was looked for; `next` is null on the last one."""
    kept = found[:limit]
    following = cursor(where(kept[-1])) if len(found) > limit else None
    return {name: [document(one) for one in kept], "next": following}


def cursor(where: Any) -> str:
    """Return a place in a list as a cursor. It says where to go on, and never what may be seen there (A65)."""
    return base64.urlsafe_b64encode(orjson.dumps(where)).rstrip(b"=").decode()


def place(text: str | None, kind: type[T]) -> T | None:
    """Return the place that a cursor stands for, None without one. Raises InvalidBody for what is no such cursor."""
    if text is None:
        return None
    try:
        found = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except ValueError:
        found = None
    # Beyond what a database counts in, there is no place either.
    if not isinstance(found, kind) or isinstance(found, bool) or (isinstance(found, int) and abs(found) >= 1 << 63):
        raise InvalidBody((("cursor", "is none that this list gave"),))
    return found
