"""The processes beside the gateway: OPA and sync, as children of this one or wherever the configuration says."""

from __future__ import annotations

import json
import os
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.child import Child, Command
from gateway.config.values import host_port
from gateway.errors import ConfigError, Mistake
from gateway.pdp.engine import Engine
from gateway.pdp.opa_binary import find
from gateway.pdp.opa_config import OpaSettings, opa_config
from gateway.state import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AsyncExitStack

    from gateway.config import Config, Loaded, Source
    from gateway.state import StateDir


@dataclass(frozen=True, slots=True)
class Sidecars:
    """Where OPA and sync are, and how those that are our children fare."""

    opa_url: str
    sync_url: str
    control_token: Callable[[], str]
    opa_version: str = "external"
    engine: Engine | None = None
    sync: Child | None = None

    def opa_life(self) -> int:
        """Return how often OPA was started again by us; one that others start always has the same life."""
        return self.engine.restarts if self.engine else 0

    @property
    def sync_restarts(self) -> int:
        """How often sync was started again by us."""
        return self.sync.restarts if self.sync else 0

    def trouble(self) -> str | None:
        """Return what is not running, None if all children do; a missing sync stops no decision."""
        return self.engine.trouble if self.engine else None


@dataclass(frozen=True, slots=True)
class Home:
    """Where a gateway keeps what is its own, and under which name; its ledger may be others' too.

    One that is not `counted` is waited for by nobody: it has a sync of its own, which alone knows it.
    """

    state: StateDir
    ledger_url: str = field(repr=False)
    replica: str
    counted: bool = True

    @classmethod
    def of(cls, config: Config, state: StateDir) -> Home:
        """Return that of a gateway that counts."""
        return cls(state, config.storage.address or state.ledger_url, config.opa.replica)


@dataclass(frozen=True, slots=True)
class Sources:
    """What the sidecars are set up from."""

    loaded: Loaded
    home: Home
    verification_keys: Callable[[], Mapping[str, str]]


async def sidecars(stack: AsyncExitStack, sources: Sources, *, with_sync: bool) -> Sidecars:
    """Start what is to be a child."""
    config, state = sources.loaded.config, sources.home.state
    token_file = config.sync.token_file or state.control_token
    state.secret(token_file)
    sync, sync_url = await _sync(stack, sources) if with_sync else (None, _configured_sync(config, sources.loaded))
    engine, version = None, "external"
    opa_url = config.auth.opa.url
    if opa_url is None:
        binary = find(config.opa.binary)
        file = _write_opa_config(sources, sync_url)
        engine = Engine(binary.path, file, state.path / "run")
        await stack.enter_async_context(engine)
        opa_url, version = engine.url, binary.version
    return Sidecars(
        opa_url=opa_url,
        sync_url=sync_url,
        control_token=lambda: state.secret(token_file),
        opa_version=version,
        engine=engine,
        sync=sync,
    )


def _configured_sync(config: Config, loaded: Loaded) -> str:
    if config.sync.url is None:
        message = "is not set; `portcullis serve` needs the address of `portcullis sync`, `portcullis up` runs its own"
        raise ConfigError((Mistake(str(loaded.path), "sync.url", None, message),))
    return config.sync.url


async def _sync(stack: AsyncExitStack, sources: Sources) -> tuple[Child, str]:
    """Start sync on a socket of ours, so that its address stays while it is restarted."""
    home, config = sources.home, sources.loaded.config
    listen = config.sync.listen if home.counted else None
    host, port = host_port(listen or "127.0.0.1:0")
    listener = socket.create_server((host, port))
    stack.callback(listener.close)
    arguments = (
        sys.executable, "-m", "gateway", "sync", "--with-parent",
        *_files(sources.loaded.source), "--state-dir", home.state.path, "--listen", f"fd:{listener.fileno()}",
        *(() if home.counted else ("--resident", home.replica)),
        # An address that is configured, and may hold a password, it reads for itself.
        *(() if home.counted or config.storage.url else ("--ledger", home.ledger_url)),
    )  # fmt: skip
    command = Command("sync", arguments, os.environ, Path.cwd(), fds=(listener.fileno(),))
    # Sync logs in the gateway's own format, so its lines are passed on as they are.
    child = Child(command, say=lambda line: print(line.decode(errors="replace"), file=sys.stderr) if line else None)  # noqa: T201
    await stack.enter_async_context(child)
    return child, f"http://{host}:{listener.getsockname()[1]}"


def _files(source: Source) -> tuple[str | Path, ...]:
    tenants = ("--tenants", source.tenants.absolute()) if source.tenants else ()
    return ("--config", source.config.absolute(), *tenants)


def _write_opa_config(sources: Sources, sync_url: str) -> Path:
    state, name = sources.home.state, sources.home.replica
    settings = OpaSettings(
        sync_url=sync_url,
        replica=name,
        token_path=state.replica_token(name),
        keys=sources.verification_keys(),
        directory=state.opa_dir,
    )
    file = state.path / "opa.json"
    write_whole(file, json.dumps(opa_config(settings), indent=2).encode())
    return file
