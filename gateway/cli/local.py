"""The processes of this machine as a command finds them, by what a running `up` or `serve` has left behind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gateway.errors import EngineMissing
from gateway.pdp.high_water import HighWaterMark
from gateway.pdp.orphan import read_trace
from gateway.pdp.pdp import Pdp

if TYPE_CHECKING:
    from gateway.config import Config
    from gateway.pdp.client import OpaClient
    from gateway.state import StateDir


def opa_url(config: Config, state: StateDir) -> str:
    """Return the address of the OPA that decides here; raises EngineMissing where none was started."""
    if config.auth.opa.url is not None:
        return config.auth.opa.url
    trace = read_trace(state.path / "run" / "opa.pid")
    if trace is None:
        raise EngineMissing(f"no OPA runs on {state.path}; start `portcullis up` with the same --state-dir first")
    return trace.address


def onlooker(client: OpaClient, config: Config, state: StateDir, *, epoch: str = "") -> Pdp:
    """Return a decision point that asks as the gateway does, is held to its high-water mark and never raises it.

    Without the ledger's `epoch` it trusts no decision, and can still be asked for an explanation.
    """
    return Pdp(
        client,
        epoch=lambda: epoch,
        mark=HighWaterMark(state.high_water, keep=False),
        mode=config.tool_access.mode,
        custom_policy=lambda: config.opa.custom_policies is not None,
        max_arguments_bytes=config.opa.max_arguments_bytes,
        policy_path=config.auth.opa.policy_path,
    )


def sync_url(config: Config, state: StateDir) -> str | None:
    """Return the address of the sync service that feeds the OPA of this machine, None where there is none."""
    if config.sync.url is not None:
        return config.sync.url
    try:
        document: Any = json.loads((state.path / "opa.json").read_text())
        return str(document["services"]["sync"]["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
