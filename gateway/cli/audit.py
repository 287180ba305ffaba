"""`portcullis audit`: the newest events of the trail, and on with what comes; and an end to the oldest."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from gateway.audit import DAY_MS, now_ms
from gateway.cli.common import (
    counted,
    installation_options,
    json_option,
    ledger_of,
    moment,
    plain,
    print_json,
    run,
)
from gateway.cli.desk import Desk, at_the_desk
from gateway.config import Config

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config import Loaded, Source
    from gateway.ledger import Ledger
    from gateway.model import AuditEvent

POLL_SECONDS = 0.5
PAGE = 500


@click.group()
def audit() -> None:
    """The audit trail: tail, prune."""


@audit.command()
@installation_options
@click.option(
    "-n", "--lines", type=click.IntRange(0, 100_000), default=20, show_default=True, help="How many at first."
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@json_option
def tail(config_path: Source, state_dir: Path | None, lines: int, follow: bool, as_json: bool) -> None:
    """Print the newest events, oldest first."""
    run(_tail(config_path, state_dir, lines, follow=follow, as_json=as_json))


@audit.command()
@at_the_desk
@click.option("--days", type=click.IntRange(1), help="How many days to keep; without it, audit.retention_days.")
def prune(desk: Desk, days: int | None) -> None:
    """Delete old events, as a gateway does every hour. For where gateways have no right to."""

    async def pruned(ledger: Ledger, loaded: Loaded | None) -> int:
        kept = days or (loaded.config if loaded else Config()).audit.retention_days
        return await ledger.prune_audit(now_ms() - kept * DAY_MS)

    deleted = desk.work(pruned)
    desk.say(f"deleted {counted(deleted, 'event')}", {"deleted": deleted})


async def _tail(config_path: Source, state_dir: Path | None, lines: int, *, follow: bool, as_json: bool) -> None:
    async with ledger_of(config_path, state_dir) as (ledger, _):
        newest = await ledger.newest_audit()
        seq = max(0, newest - lines)
        while True:
            events = await ledger.audit(PAGE, after=seq)
            for seq, event in events:
                _print(seq, event, as_json=as_json)
            if len(events) == PAGE:
                continue
            if not follow:
                return
            await asyncio.sleep(POLL_SECONDS)


def _print(seq: int, event: AuditEvent, *, as_json: bool) -> None:
    if as_json:
        print_json({"seq": seq, **asdict(event)})
        return
    target = event.target.get("id") or event.target.get("name") or "-"
    if whose := event.target.get("tenant"):
        target = f"{target} for {whose}"
    words = (
        *(moment(event.time), event.type, event.outcome, event.reason or "-", event.tenant or "-"),
        *(str(event.actor.get("principal") or "-"), str(target), f"{event.count} times" if event.count > 1 else ""),
    )
    click.echo(plain("  ".join(words).rstrip()))
