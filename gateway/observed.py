"""What watches a gateway while it runs: the readings of its metrics, and its traces where they are wanted."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

from gateway import background, gauges, lag
from gateway.errors import ConfigError, Mistake

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AsyncExitStack

    from gateway.config import Config
    from gateway.exporting import Exporting
    from gateway.operation import Gateway
    from gateway.tracing import Tracing


def measured(stack: AsyncExitStack, gateway: Gateway) -> None:
    """Have the state of a gateway read with its metrics."""
    gauges.add(gateway)
    background.run(stack, gateway.follow_sync(), "ask sync how it is")
    background.run(stack, lag.measure(gateway.rooms.metrics.lagged), "measure how late the event loop is")


def tracing(stack: AsyncExitStack, config: Config, code_of: Callable[[BaseException], int | None]) -> Tracing | None:
    """Return what makes traces, None where none are wanted: then nothing of OpenTelemetry is even imported.

    Raises ConfigError where it is wanted and cannot be had.
    """
    if not config.tracing.enabled:
        return None
    try:
        exporting = import_module("gateway.exporting")
    except ModuleNotFoundError as error:
        why = f"needs what `pip install portcullis[otel]` brings: there is no {error.name}"
        raise ConfigError((Mistake("", "tracing.enabled", None, why),)) from error
    found: Exporting = exporting.begin(config.tracing, config.opa.replica, os.environ, code_of)
    stack.push_async_callback(found.close)
    return found.tracing
