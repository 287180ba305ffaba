"""The processes of this machine as a command finds them, by what a running `up` or `serve` has left behind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

from gateway.errors import EngineMissing, Unavailable
from gateway.pdp.high_water import HighWaterMark
from gateway.pdp.orphan import read_trace
from gateway.pdp.pdp import Pdp

if TYPE_CHECKING:
    from gateway.config import Config
    from gateway.pdp.client import OpaClient
    from gateway.state import StateDir

SYNC_SECONDS = 3.0


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


async def ask_sync(config: Config | None, state: StateDir, *paths: str) -> list[Any]:
    """Return what the sync service that feeds the OPA of this machine answers at each path; raises Unavailable."""
    url = _sync_url(config, state)
    if url is None:
        raise Unavailable("no sync service has run on this state directory, and sync.url is not set")
    token = state.secret((config.sync.token_file if config else None) or state.control_token)
    headers, timeout = {"Authorization": f"Bearer {token}"}, aiohttp.ClientTimeout(total=SYNC_SECONDS)
    try:
        async with aiohttp.ClientSession(headers=headers, timeout=timeout, trust_env=False) as session:
            return [await _get(session, url + path) for path in paths]
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise Unavailable(f"sync at {url} does not answer: {str(error) or type(error).__name__}") from error


async def _get(session: aiohttp.ClientSession, url: str) -> Any:
    async with session.get(url, allow_redirects=False) as response:
        # Of its health it speaks with 503, too: then not all is served yet that should be.
        if response.status != 200 and not (url.endswith("/health") and response.status == 503):
            raise ValueError(f"status {response.status}")
        return orjson.loads(await response.read())


def _sync_url(config: Config | None, state: StateDir) -> str | None:
    if config is not None and config.sync.url is not None:
        return config.sync.url
    try:
        document: Any = json.loads((state.path / "opa.json").read_text())
        return str(document["services"]["sync"]["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
