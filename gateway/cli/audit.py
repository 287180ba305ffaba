"""`portcullis audit`: the newest events of the trail and on, whether it is whole, and an end to the oldest."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from gateway.administration.pages import cursor
from gateway.audit import DAY_MS, now_ms
from gateway.cli.common import counted, moment, plain, print_json
from gateway.cli.desk import Desk, at_the_desk
from gateway.cli.office import Office, in_the_office
from gateway.config import Config

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.cli.office import Session
    from gateway.config import Loaded
    from gateway.ledger import Ledger

POLL_SECONDS = 0.5
OPERATION = "listEvents"


@click.group()
def audit() -> None:
    """The audit trail: tail, verify, prune."""


@audit.command()
@in_the_office
@click.option(
    "-n", "--lines", type=click.IntRange(0, 100_000), default=20, show_default=True, help="How many at first."
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--tenant", "tenant_id", help="Only events of this tenant.")
@click.option("--principal", help="Only what this principal did.")
@click.option("--type", "type", help="Only events of this type, such as ToolCalled.")
@click.option("--outcome", type=click.Choice(("success", "failure", "error")), help="Only with this outcome.")
@click.option("--tool", help="Only what was about this id, such as payments/charge.")
def tail(office: Office, lines: int, follow: bool, **wanted: str | None) -> None:
    """Print the newest events, oldest first."""
    query = {name: value for name, value in wanted.items() if value is not None}

    async def work(session: Session) -> None:
        await _tail(session, query, lines, follow=follow, as_json=office.as_json)

    office.within(work)


@audit.command()
@in_the_office
def verify(office: Office) -> None:
    """Look whether the trail is whole: that nothing was edited, dropped, moved or put in. Status 1 if something was."""
    found = office.do("verifyTrail")
    looked = f"{counted(found['events'], 'event')} of {counted(len(found['writers']), 'writer')}"
    breaks = [plain(_break(one)) for one in found["breaks"]]
    office.say("\n".join((*breaks, f"{looked}: {'touched' if breaks else 'whole'}")), found)
    if breaks:
        raise click.exceptions.Exit(1)


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


async def _tail(session: Session, query: Mapping[str, str], lines: int, *, follow: bool, as_json: bool) -> None:
    newest = await _newest(session, query, max(lines, 1))
    for one in newest[len(newest) - min(lines, len(newest)) :]:
        _print(one, as_json=as_json)
    seen = newest[-1]["seq"] if newest else 0
    while follow:
        # Events become visible in the order of their numbers, so that none is missed.
        more = {"order": "oldest", "limit": session.page, "cursor": cursor(seen)}
        page = await session.do(OPERATION, {}, {**query, **more})
        for one in page["events"]:
            _print(one, as_json=as_json)
            seen = one["seq"]
        if page["next"] is None:
            await asyncio.sleep(POLL_SECONDS)


async def _newest(session: Session, query: Mapping[str, str], lines: int) -> list[dict[str, Any]]:
    """Return so many of the newest events, oldest first."""
    found: list[dict[str, Any]] = []
    more: dict[str, Any] = {}
    while len(found) < lines:
        page = await session.do(OPERATION, {}, {**query, **more, "limit": min(session.page, lines - len(found))})
        found += page["events"]
        if page["next"] is None:
            break
        more["cursor"] = page["next"]
    return found[::-1]


def _break(one: dict[str, Any]) -> str:
    where = f"row {one['seq']}" if one["seq"] is not None else f"number {one['number']}"
    return f"{one['damage']}: {where} of {one['writer']}: {one['why']}"


def _print(one: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(one)
        return
    target = one["target"].get("id") or one["target"].get("name") or "-"
    if whose := one["target"].get("tenant"):
        target = f"{target} for {whose}"
    words = (
        *(moment(one["time"]), one["type"], one["outcome"], one["reason"] or "-", one["tenant"] or "-"),
        *(str(one["actor"].get("principal") or "-"), str(target), f"{one['count']} times" if one["count"] > 1 else ""),
    )
    click.echo(plain("  ".join(words).rstrip()))
