"""Where the processes of this machine are: what a running `up` or `serve` has left in its state directory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gateway.errors import EngineMissing
from gateway.pdp.orphan import read_trace

if TYPE_CHECKING:
    from gateway.config import Config
    from gateway.state import StateDir


def opa_url(config: Config, state: StateDir) -> str:
    """Return the address of the OPA that decides here; raises EngineMissing where none was started."""
    if config.auth.opa.url is not None:
        return config.auth.opa.url
    trace = read_trace(state.path / "run" / "opa.pid")
    if trace is None:
        raise EngineMissing(f"no OPA runs on {state.path}; start `portcullis up` with the same --state-dir first")
    return trace.address


def sync_url(config: Config, state: StateDir) -> str | None:
    """Return the address of the sync service that feeds the OPA of this machine, None where there is none."""
    if config.sync.url is not None:
        return config.sync.url
    try:
        document: Any = json.loads((state.path / "opa.json").read_text())
        return str(document["services"]["sync"]["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
