"""Severities of log messages (RFC 5424, as MCP names them), the least severe first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")

_SEVERITY: Mapping[Any, int] = {name: severity for severity, name in enumerate(LEVELS)}


def is_level(value: Any) -> bool:
    """Whether this is the name of a level."""
    return isinstance(value, str) and value in _SEVERITY


def reaches(level: Any, threshold: str) -> bool:
    """Whether a message of this level is at or above the threshold; one without a level is no message."""
    return is_level(level) and _SEVERITY[level] >= _SEVERITY[threshold]
