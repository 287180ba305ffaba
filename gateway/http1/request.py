"""The head of a request, as bytes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# With a line break in it, one header would be two, or the next request.
_FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class BadField(ValueError):
    """A header has a name or a value that HTTP cannot carry."""


def field_lines(headers: Mapping[str, str]) -> bytes:
    """Return headers as lines, each ended; raises BadField. Half characters are the bytes that they were read from."""
    lines = []
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or _FORBIDDEN.search(value):
            raise BadField(f"{name!r} is a header that HTTP cannot carry")
        lines.append(f"{name}: {value}\r\n")
    try:
        return "".join(lines).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise BadField("a header is no text") from None
