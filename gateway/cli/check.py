"""`portcullis check`: what is wrong with the files, before anything is started."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from gateway.cli import check_parts
from gateway.cli.common import config_option, json_option, print_json, run
from gateway.config import load
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config import Loaded


@dataclass(frozen=True, slots=True)
class Found:
    """What a check has to say; an error makes `check` fail, a warning does not."""

    text: str
    error: bool = False


Check = Callable[["Loaded"], Awaitable[tuple[Found, ...]]]


async def warnings_of(loaded: Loaded) -> tuple[Found, ...]:
    """Say what is allowed in the configuration and rarely meant."""
    return tuple(Found(text) for text in loaded.warnings)


async def policy_of(loaded: Loaded) -> tuple[Found, ...]:
    """Check users' Rego as sync does before it publishes it."""
    return tuple(Found(text, error=True) for text in await check_parts.custom_policy(loaded))


async def servers_of(loaded: Loaded) -> tuple[Found, ...]:
    """Ask every server for its tools; one that is down now may be up later."""
    return tuple(Found(text) for text in await check_parts.servers(loaded))


CHECKS: tuple[Check, ...] = (warnings_of, policy_of, servers_of)


@click.command()
@config_option
@json_option
def check(config_path: Path, as_json: bool) -> None:
    """Check the files; status 1 where there is an error, 0 where there are only warnings."""
    found = run(_found(config_path))
    failed = any(one.error for one in found)
    if as_json:
        of = {True: "error", False: "warning"}
        print_json({"ok": not failed, "found": [{"level": of[one.error], "text": one.text} for one in found]})
    else:
        _print(config_path, found)
    if failed:
        raise click.exceptions.Exit(1)


async def _found(config_path: Path) -> tuple[Found, ...]:
    try:
        loaded = load(config_path)
    except ConfigError as error:
        return tuple(Found(str(mistake), error=True) for mistake in error.mistakes)
    return tuple([one for check_ in CHECKS for one in await check_(loaded)])


def _print(config_path: Path, found: tuple[Found, ...]) -> None:
    for one in found:
        click.echo(f"{'error' if one.error else 'warning'}: {one.text}", err=one.error)
    errors = sum(one.error for one in found)
    click.echo(f"{config_path}: {_count(errors, 'error')}, {_count(len(found) - errors, 'warning')}", err=bool(errors))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
