"""What a rule says of values that are each well formed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.config.document import Path


@dataclass(frozen=True, slots=True)
class Finding:
    """A broken rule: `path` is where it is said, `about` the other values that it was judged by."""

    path: Path
    message: str
    about: tuple[Path, ...] = ()
