"""`portcullis doctor`: what a running installation is like, one finding a line, the worst decides the status."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.authn.discovery import KeySource
from gateway.cli.common import AT_ONCE, counted, installation_options, json_option, plain, print_json, print_table, run
from gateway.cli.local import ask_sync, onlooker, opa_url
from gateway.config import load
from gateway.errors import ConfigError, EngineMissing, Unavailable, UpstreamFailed
from gateway.ledger.connect import SQLITE, open_ledger
from gateway.net import FetchFailed
from gateway.pdp.client import OpaClient
from gateway.pdp.diagnostics import OpaHealth, health_of
from gateway.pdp.opa_binary import find
from gateway.rooms import server_keys, upstream_targets
from gateway.state import StateDir
from gateway.upstream.pool import Upstreams

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from gateway.config import Config, Loaded, Source
    from gateway.config.schema import TrustedIssuer
    from gateway.errors import Mistake
    from gateway.facts import LedgerMeta

OK, WARNING, ERROR = "ok", "warning", "error"
CLOCK_SKEW_SECONDS = 30
DEADLINE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look at one part found; `mistake` is one that is in a file."""

    part: str
    level: str
    text: str
    mistake: Mistake | None = None

    @property
    def document(self) -> dict[str, Any]:
        """The same for programs."""
        found = {"part": self.part, "level": self.level, "text": self.text}
        return found | (asdict(self.mistake) if self.mistake else {})


@dataclass(frozen=True, slots=True)
class Patient:
    """What every look needs."""

    loaded: Loaded
    state: StateDir
    meta: LedgerMeta | None

    @property
    def config(self) -> Config:
        """The configuration on disk."""
        return self.loaded.config


@click.command()
@installation_options
@json_option
def doctor(config_path: Source, state_dir: Path | None, as_json: bool) -> None:
    """Look at every part of what runs. OPA, bundles per replica, issuer keys, servers, clock, storage and drift."""
    findings = run(_findings(config_path, StateDir.open(state_dir)))
    failed = any(finding.level == ERROR for finding in findings)
    if as_json:
        print_json({"ok": not failed, "findings": [one.document for one in findings]})
    else:
        print_table(("part", "level", "finding"), [(f.part, f.level, plain(f.text)) for f in findings], empty="")
    if failed:
        raise click.exceptions.Exit(1)


async def _findings(config_path: Source, state: StateDir) -> list[Finding]:
    try:
        loaded = load(config_path)
    except ConfigError as error:
        # A gateway that runs goes on with the configuration that it has; this is what keeps it from a new one.
        return [Finding("config", ERROR, str(mistake), mistake) for mistake in error.mistakes]
    found = [Finding("config", WARNING, text) for text in loaded.warnings]
    found += _kept_back(loaded)
    found.append(Finding("config", OK, f"{config_path} is whole, hash {loaded.hash[:12]}"))
    storage, meta = await _storage(loaded, state)
    patient = Patient(loaded, state, meta)
    return [*found, storage, *[finding for look in LOOKS for finding in await look(patient)]]


def _kept_back(loaded: Loaded) -> Iterator[Finding]:
    """Yield what is wrong with catalogs; a gateway that runs keeps the last good ones, which a new start would not."""
    for one in loaded.kept_back:
        for mistake in one.mistakes:
            yield Finding("tenants", ERROR, f"{one.tenant}: {mistake}; a start would suspend the tenant", mistake)


async def _storage(loaded: Loaded, state: StateDir) -> tuple[Finding, LedgerMeta | None]:
    try:
        ledger = await open_ledger(loaded.config.storage.address or state.ledger_url)
        try:
            meta = await ledger.meta()
            names = ", ".join(replica.name for replica in await ledger.replicas()) or "none"
        finally:
            await ledger.close()
    except (Unavailable, ConfigError) as error:
        return Finding("storage", ERROR, str(error)), None
    return Finding("storage", OK, f"r{meta.revision} of epoch {meta.epoch[:8]}, replicas: {names}"), meta


async def _drift(patient: Patient) -> list[Finding]:
    meta = patient.meta
    if meta is None or meta.config_hash is None:
        return [Finding("drift", WARNING, "no gateway has put a configuration in force yet")]
    if meta.config_hash != patient.loaded.hash:
        running = meta.config_hash[:12]
        return [Finding("drift", WARNING, f"the file is {patient.loaded.hash[:12]}, in force is {running}")]
    return [Finding("drift", OK, "the file is what is in force")]


async def _engine(patient: Patient) -> list[Finding]:
    config, found = patient.config, []
    if config.auth.opa.url is None:
        try:
            binary = await asyncio.to_thread(find, config.opa.binary)
            found.append(Finding("opa", OK, f"OPA {binary.version} at {binary.path}"))
        except EngineMissing as error:
            found.append(Finding("opa", ERROR, str(error)))
    try:
        async with OpaClient(opa_url(config, patient.state), deadline=DEADLINE_SECONDS) as client:
            found.append(await _decides(client, patient))
    except (EngineMissing, ConfigError) as error:
        found.append(Finding("opa", ERROR, str(error)))
    if health := await _health(config):
        found.append(health)
    return found


async def _decides(client: OpaClient, patient: Patient) -> Finding:
    epoch = patient.meta.epoch if patient.meta else ""
    why = await onlooker(client, patient.config, patient.state, epoch=epoch).ready()
    return Finding("opa", ERROR, f"it does not decide: {why}") if why else Finding("opa", OK, "it decides")


async def _health(config: Config) -> Finding | None:
    """Ask an OPA on TCP for its bundles' health; one on a unix socket was asked for decisions already."""
    url = config.auth.opa.url
    if url is None or url.startswith("unix:"):
        return None
    health: OpaHealth = await health_of(url)
    return Finding("opa", OK if health.ok else ERROR, health.text)


async def _replicas(patient: Patient) -> list[Finding]:
    try:
        replicas, health = await ask_sync(patient.config, patient.state, "/replicas", "/health")
    except Unavailable as error:
        return [Finding("sync", ERROR, str(error))]
    refused = [Finding("sync", ERROR, str(problem)) for problem in health.get("problems", ())]
    if health["status"] == "starting" and not refused:
        refused = [Finding("sync", WARNING, "it is starting: not all that OPA decides on is served yet")]
    rows = replicas["replicas"]
    found = [_elsewhere(row, health["revision"]) if row["elsewhere"] else _replica(row) for row in rows]
    return [*refused, *(found or [Finding("sync", WARNING, "no replica is counted")])]


def _elsewhere(row: dict[str, Any], newest: int) -> Finding:
    """Tell of a replica that polls another sync, by what that one has recorded of it."""
    behind = row["applied"] is None or row["applied"] < newest
    has = f"everything up to r{row['applied']}" if row["applied"] else "nothing yet"
    text = f"{row['name']}: {has}, as another sync says" + (f"; the newest is r{newest}" if behind else "")
    return Finding("replica", WARNING if behind else OK, text)


def _replica(row: dict[str, Any]) -> Finding:
    behind = sorted(name for name, revision in row["bundles"].items() if revision is None)
    has = ", ".join(f"{name} r{revision}" for name, revision in row["bundles"].items() if revision is not None)
    errors = "; ".join(f"{name}: {text}" for name, text in row["errors"].items())
    text = f"{row['name']}: {has or 'no bundle'}"
    if behind:
        text += f"; not the newest {', '.join(behind)}, silent for {row['silent_seconds']:g} s"
    if not row["counted"]:
        text += "; not counted any more"
    return Finding("replica", ERROR if errors else WARNING if behind else OK, f"{text}; {errors}" if errors else text)


async def _issuer(patient: Patient) -> list[Finding]:
    auth = patient.config.auth
    return [await _keys_of(one) for one in auth.oidc.trusted] if auth.enabled else []


async def _keys_of(issuer: TrustedIssuer) -> Finding:
    try:
        document = await KeySource.of(issuer).load()
        return Finding("issuer", OK, f"{issuer.issuer} has {counted(len(document['keys']), 'key')}")
    except (FetchFailed, KeyError, TypeError) as error:
        return Finding("issuer", ERROR, f"the keys of {issuer.issuer} cannot be had: {error}")


async def _servers(patient: Patient) -> list[Finding]:
    upstreams = Upstreams(upstream_targets(patient.config))
    try:
        turns = asyncio.Semaphore(AT_ONCE)
        return list(await asyncio.gather(*(_server(upstreams, name, turns) for name in server_keys(patient.config))))
    finally:
        await upstreams.close()


async def _server(upstreams: Upstreams, name: str, turns: asyncio.Semaphore) -> Finding:
    try:
        async with turns:
            tools = await upstreams.list_tools(name)
    except UpstreamFailed as error:
        return Finding("server", WARNING, f"{name}: {error.why}")
    return Finding("server", OK, f"{name}: {counted(len(tools), 'tool')}")


async def _clock(patient: Patient) -> list[Finding]:
    """Compare our clock with when the ledger was last written: one that went back makes good data look stale."""
    ahead = _written_at(patient.config.storage.address or patient.state.ledger_url) - time.time()
    if ahead > CLOCK_SKEW_SECONDS:
        return [Finding("clock", ERROR, f"the ledger was written {ahead:.0f} s in the future: this clock went back")]
    return [Finding("clock", OK, "not behind what was written here")]


def _written_at(ledger_url: str) -> float:
    """Return when a file's write-ahead log was last written, in seconds since the epoch; 0 where there is none."""
    try:
        return Path(f"{ledger_url.removeprefix(SQLITE)}-wal").stat().st_mtime
    except OSError:
        return 0.0


LOOKS: tuple[Callable[[Patient], Awaitable[list[Finding]]], ...] = (
    _drift,
    _engine,
    _replicas,
    _issuer,
    _servers,
    _clock,
)
