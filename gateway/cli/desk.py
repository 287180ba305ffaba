"""What the commands on the ledger share: where it is, whether people or programs are spoken to, and how."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gateway.cli.common import (
    installation_options,
    json_option,
    ledger_of,
    print_json,
    print_table,
    run,
    together,
    unheard,
    warn,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from pathlib import Path

    from gateway.config import Loaded, Source
    from gateway.ledger import Ledger

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Desk:
    """Where a command works, and for whom."""

    config_path: Source
    state_dir: Path | None
    as_json: bool

    def look(self, question: Callable[[Ledger], Awaitable[T]]) -> T:
        """Return what the ledger answers."""
        return self.work(lambda ledger, _: question(ledger))

    def work(self, job: Callable[[Ledger, Loaded | None], Awaitable[T]]) -> T:
        """Do something with the ledger, and with the configuration where there is one."""
        return run(self._working(job))

    async def _working(self, job: Callable[[Ledger, Loaded | None], Awaitable[T]]) -> T:
        async with ledger_of(self.config_path, self.state_dir) as (ledger, loaded):
            return await job(ledger, loaded)

    def say(self, text: str, document: Any) -> None:
        """Print what came of it."""
        if self.as_json:
            print_json(document)
        else:
            click.echo(text)

    def show(self, columns: Sequence[str], rows: Iterable[Sequence[str]], documents: Iterable[Any], empty: str) -> None:
        """Print a list: a table for people, the documents for programs."""
        if self.as_json:
            print_json(list(documents))
        else:
            print_table(columns, list(rows), empty=empty)


def at_the_desk(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command --config, --state-dir and --json as its first argument, a `Desk`."""

    @functools.wraps(command)
    def with_desk(config_path: Source, state_dir: Path | None, as_json: bool, **rest: Any) -> None:
        command(Desk(config_path, state_dir, as_json), **rest)

    return together(installation_options, json_option)(with_desk)


async def caution(ledger: Ledger, *others: str) -> None:
    """Warn of these, and of a ledger that no gateway listens to."""
    for text in (*others, *await unheard(ledger)):
        warn(text)
