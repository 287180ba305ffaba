"""The audit trail as a file of JSON lines, beside the one in the ledger."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.model import AuditEvent


class AuditFile:
    """A file of JSON lines that may be rotated by renaming: it is opened anew for each group."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, events: Sequence[AuditEvent]) -> None:
        """Append one line an event; raises OSError."""
        lines = b"".join(map(_line, events))
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(lines)


def unwritable(path: Path) -> str | None:
    """Say why events cannot be written to a file, or None where they can be, or where a pipe has no reader yet."""
    try:
        AuditFile(path).write(())
    except OSError as error:
        return None if error.errno == errno.ENXIO else error.strerror
    return None


def _line(one: AuditEvent) -> bytes:
    # In ASCII, because strangers' text may hold characters that end lines or turn text for some readers (A62).
    # The slow way also takes integers above 64 bits, in arguments or in what a custom policy says of them.
    with contextlib.suppress(TypeError):
        line = orjson.dumps(one, option=orjson.OPT_APPEND_NEWLINE)
        if line.isascii():
            return line
    return json.dumps(asdict(one)).encode() + b"\n"
