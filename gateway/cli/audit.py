"""`portcullis audit tail`: the newest events of the audit trail, and on with what comes."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from gateway.cli.common import installation_options, json_option, ledger_of, moment, plain, print_json, run

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config import Source
    from gateway.model import AuditEvent

POLL_SECONDS = 0.5
PAGE = 500


@click.group()
def audit() -> None:
    """The audit trail: tail."""


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
