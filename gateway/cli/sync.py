"""`portcullis sync`: serve signed bundles to OPA until told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import click
import uvloop

from bundles.configurations import Configurations
from bundles.custom import CustomPolicy, read_custom
from bundles.service import Settings, SyncService
from bundles.signing import ensure_key
from gateway import logs
from gateway.audit import event, now_ms
from gateway.cli.common import installation_options, operator, told_to_stop
from gateway.config.values import host_port
from gateway.config.watch import on_hangup
from gateway.errors import ConfigError, EngineMissing, Mistake
from gateway.facts import Replica
from gateway.keys import sha256
from gateway.pdp.opa_binary import find
from gateway.state import StateDir

if TYPE_CHECKING:
    from pathlib import Path

    from bundles.bundle import Content
    from bundles.signing import SigningKey
    from gateway.config import Config, Source
    from gateway.model import AuditEvent

LOG = logging.getLogger("portcullis.sync")
DEFAULT_LISTEN = "127.0.0.1:8180"
PARENT_POLL_SECONDS = 0.25
# An expansion computes in a thread for seconds; the loop gets its turn after this long instead of after 5 ms.
SWITCH_SECONDS = 0.0005


@click.command()
@installation_options
@click.option("--listen", help="HOST:PORT, or fd:N for a listening socket that is inherited; else sync.listen.")
@click.option("--with-parent", is_flag=True, help="End when the process that started this one ends.")
@click.option("--ledger", hidden=True, help="The ledger's address, where it is not in the state directory.")
@click.option("--resident", hidden=True, help="A replica that no ledger knows; its token is in the state directory.")
def sync(
    config_path: Source,
    state_dir: Path | None,
    listen: str | None,
    with_parent: bool,
    ledger: str | None,
    resident: str | None,
) -> None:
    """Make signed bundles of configuration and ledger, for OPA. It gets them by long polling."""
    parent = os.getppid() if with_parent else None
    state = StateDir.open(state_dir)
    configurations = Configurations(config_path, state.configuration)
    logs.configure(configurations.known.config.logging)
    if configurations.mistakes:
        LOG.error("the configuration is refused: sync goes by the copy of what was in force last")
    settings = _settings(configurations, state, listen)
    if ledger is not None:
        settings = replace(settings, ledger_url=ledger)
    if resident is not None:
        token = state.secret(state.replica_token(resident))
        settings = replace(settings, resident=Replica(resident, sha256(token), now_ms()))
    sys.setswitchinterval(SWITCH_SECONDS)
    uvloop.run(_until_told(settings, parent))


def _settings(configurations: Configurations, state: StateDir, listen: str | None) -> Settings:
    config = configurations.known.config

    def load_key() -> SigningKey:
        return ensure_key(config, state)

    load_key()
    return Settings(
        configurations=configurations,
        ledger_url=config.storage.address or state.ledger_url,
        control_token=state.secret(config.sync.token_file or state.control_token),
        load_key=load_key,
        load_custom=_load_custom,
        listener=_listener(listen or config.sync.listen or DEFAULT_LISTEN),
        event=_published,
    )


def _published(bundle: str, content: Content) -> AuditEvent | None:
    """Return the event of a policy that is published anew; what the tenants' bundle says has events of its own."""
    if bundle == "tenants":
        return None
    packages = sorted(content.metadata.get("packages", ()))
    target = {"bundle": bundle, "digest": content.digest(), "packages": packages}
    return event("PolicyPublished", "success", actor=operator() | {"kind": "sync"}, target=target)


def _listener(listen: str) -> socket.socket:
    """Return a bound socket; raises ConfigError where there is none to be had."""
    try:
        if listen.startswith("fd:"):
            return socket.socket(fileno=int(listen.removeprefix("fd:")))
        return socket.create_server(host_port(listen))
    except (OSError, OverflowError, ValueError) as error:
        raise ConfigError((Mistake("", "sync.listen", None, f"cannot listen on {listen!r}: {error}"),)) from error


async def _load_custom(config: Config) -> CustomPolicy:
    """Return users' Rego, checked by the real OPA; without a folder there is none, and no OPA is needed."""
    folder = config.opa.custom_policies
    if folder is None:
        return CustomPolicy()
    try:
        binary = await asyncio.to_thread(find, config.opa.binary)
    except EngineMissing as error:
        why = f"cannot be checked without OPA: {error}"
        raise ConfigError((Mistake(str(folder), "opa.custom_policies", None, why),)) from error
    return await asyncio.to_thread(read_custom, folder, binary.path)


async def _until_told(settings: Settings, parent: int | None) -> None:
    """Serve until SIGTERM, SIGINT, or the end of the parent; raises what ended a part of the service."""
    told = told_to_stop()
    async with SyncService(settings) as service, asyncio.TaskGroup() as tasks:
        background = [tasks.create_task(service.failed()), tasks.create_task(_announce(service))]
        if parent is not None:
            background.append(tasks.create_task(_outlived(parent, told)))
        with on_hangup(service.request_reload):
            await told.wait()
        for task in background:
            task.cancel()


async def _announce(service: SyncService) -> None:
    """Log one line when every bundle is served that can be."""
    await service.publisher.served()
    host, port = service.address
    withheld = ", ".join(sorted(service.publisher.withheld))
    rest = f"; not served: {withheld}" if withheld else ""
    LOG.info("sync is ready at %s:%d, r%d%s", host, port, service.publisher.revision, rest)


async def _outlived(parent: int, told: asyncio.Event) -> None:
    """Tell when somebody else has become this process's parent: the one that started it is gone."""
    while os.getppid() == parent:  # noqa: ASYNC110 (nothing tells of it but the number)
        await asyncio.sleep(PARENT_POLL_SECONDS)
    told.set()
