"""`portcullis policy replay`: what a draft of policy would change about what was decided before."""

from __future__ import annotations

import asyncio
import re
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bundles.custom import read_custom
from bundles.snapshot import read
from gateway.cli.changes import compared, print_report
from gateway.cli.common import installation_options, json_option, ledger_of, print_json, run, warn
from gateway.cli.recorded import Wanted, from_file, from_ledger
from gateway.cli.rehearsal import Play, on_stage
from gateway.config import load
from gateway.pdp.opa_binary import find

if TYPE_CHECKING:
    from gateway.cli.changes import Report
    from gateway.config import Loaded, Source

AGE = re.compile(r"([0-9]{1,6})([smhd])")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def since_when(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    """Return the time that an option means, in milliseconds; raises BadParameter."""
    if value is None:
        return None
    age = AGE.fullmatch(value)
    try:
        moment = datetime.now(UTC) - timedelta(**{UNITS[age[2]]: int(age[1])}) if age else datetime.fromisoformat(value)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter("must be an age such as 30m, 12h or 7d, or a time such as 2026-01-31T12:00") from error
    return int(moment.timestamp() * 1000)


existing = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@installation_options
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--draft-config", type=existing, help="A draft of the configuration, in the place of --config.")
@click.option("--audit", "audit_file", type=existing, help="JSON lines as audit.file has them, instead of the ledger.")
@click.option("--since", callback=since_when, help="Only what was decided since: 12h, 7d, or a time.")
@click.option("--tenant", help="Only what this tenant asked.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=1000, show_default=True, help="The newest so many.")
@click.option("--fail-on-change", is_flag=True, help="End with status 1 if anything would change.")
@json_option
def replay(
    config_path: Source,
    state_dir: Path | None,
    folder: Path | None,
    draft_config: Path | None,
    audit_file: Path | None,
    since: int | None,
    tenant: str | None,
    limit: int,
    fail_on_change: bool,
    as_json: bool,
) -> None:
    """Ask again what was decided, and show what a draft would change. FOLDER is a draft of custom policy.

    Every recorded decision is asked twice, of what is on disk now and of the draft, on the ledger as it is now.
    """
    if folder is None and draft_config is None:
        raise click.UsageError("name a FOLDER of custom policy, a --draft-config, or both")
    draft = _Draft(folder, load(draft_config) if draft_config else None)
    report = run(_replayed(config_path, state_dir, draft, Wanted(limit, since, tenant), audit_file))
    if as_json:
        print_json(report.document)
    else:
        print_report(report)
    if report.changes and fail_on_change:
        raise click.exceptions.Exit(1)


@dataclass(frozen=True, slots=True)
class _Draft:
    folder: Path | None
    loaded: Loaded | None

    def of(self, now: Play, opa: Path) -> Play:
        """Return what the draft is instead of what there is now."""
        loaded = self.loaded or now.loaded
        return Play(loaded, read_custom(self.folder or loaded.config.opa.custom_policies, opa), now.facts)


async def _replayed(
    config_path: Source, state_dir: Path | None, draft: _Draft, wanted: Wanted, audit_file: Path | None
) -> Report:
    async with ledger_of(config_path, state_dir) as (ledger, found):
        loaded = found or load(config_path)
        facts = await read(ledger)
        events = from_file(audit_file, wanted) if audit_file else await from_ledger(ledger, wanted)
    opa = find(loaded.config.opa.binary).path
    now = Play(loaded, await asyncio.to_thread(read_custom, loaded.config.opa.custom_policies, opa), facts)
    then = await asyncio.to_thread(draft.of, now, opa)
    for server in sorted(then.loaded.config.mcp_servers.keys() - {one.server for one in facts.inventory}):
        warn(f"the server {server} was never listed, so nothing of it is offered here")
    with tempfile.TemporaryDirectory(prefix="portcullis-replay-") as name:
        async with AsyncExitStack() as stack:
            stages = [
                await stack.enter_async_context(on_stage(play, opa, Path(name) / part))
                for part, play in (("now", now), ("draft", then))
            ]
            return await compared(events, *stages)
