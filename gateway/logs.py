"""Logging: one JSON object a line, or text for people; what strangers wrote cannot break a line (A62)."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.config.processes import LoggingSettings

STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """A record as one JSON object; extra fields become members, control characters are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        document = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        } | {name: value for name, value in vars(record).items() if name not in STANDARD}
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document, default=str)


class TextFormatter(logging.Formatter):
    """A record as one line of text, control characters escaped; only a traceback adds lines to it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        """Return the line without its traceback."""
        return escaped(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and the traceback below it."""
        return escaped(super().format(record), keep="\n")


def escaped(text: str, *, keep: str = "") -> str:
    """Return text with every character that is not printable written as Python writes it."""
    return "".join(one if one.isprintable() or one in keep else repr(one)[1:-1] for one in text)


def configure(settings: LoggingSettings) -> None:
    """Log to standard error in the configured format; of other libraries only what is worth a warning."""
    handler = logging.StreamHandler(sys.stderr)
    text = TextFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if settings.format == "json" else text)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("portcullis").setLevel(settings.level.upper())
