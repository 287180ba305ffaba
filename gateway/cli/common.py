"""What every command shares: its options, how it reaches the ledger, how it fails, how it shows rows."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway import keys
from gateway.config import Source, load
from gateway.ledger.connect import open_ledger
from gateway.state import StateDir

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Sequence
    from contextlib import AbstractAsyncContextManager

    from gateway.config import Loaded
    from gateway.ledger import Ledger

T = TypeVar("T")


def default_config() -> Path:
    """Return where config.yaml is looked for when none is named."""
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "portcullis" / "config.yaml"


_TENANTS = "portcullis.tenants"
# So many servers are asked at the same time; tenants may bring thousands along.
AT_ONCE = 64


def _keep_tenants(context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    context.meta[_TENANTS] = value


def _source(context: click.Context, _parameter: click.Parameter, value: Path) -> Source:
    return Source(value, context.meta.get(_TENANTS))


_tenants_option = click.option(
    "--tenants",
    type=click.Path(path_type=Path, dir_okay=False),
    is_eager=True,
    expose_value=False,
    callback=_keep_tenants,
    help="The file of the tenants, instead of tenants_file.",
)
state_dir_option = click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="The state directory; else PORTCULLIS_STATE_DIR, $XDG_STATE_HOME/portcullis, ~/.local/state/portcullis.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")

Option = Callable[[Callable[..., None]], Callable[..., None]]


def together(*options: Option) -> Option:
    """Return several options and arguments as one decorator, in the order in which help shows them."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


# A command gets both as one Source, under the name `config_path`.
config_option = together(
    click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path, dir_okay=False),
        default=default_config,
        show_default="~/.config/portcullis/config.yaml",
        callback=_source,
        help="The configuration file.",
    ),
    _tenants_option,
)
# What every command takes that looks at, or changes, what is installed on this machine.
installation_options = together(config_option, state_dir_option)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine to its end; Ctrl-C ends it with status 130."""
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise click.exceptions.Exit(130) from None


def told_to_stop() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set from now on; of the main thread's loop."""
    told = asyncio.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(one, told.set)
    return told


def warn(text: str) -> None:
    """Print a warning on stderr, where it cannot be taken for output."""
    click.echo(f"warning: {text}", err=True)


def ledger_of(source: Source, state_dir: Path | None) -> AbstractAsyncContextManager[tuple[Ledger, Loaded | None]]:
    """Open the ledger that this configuration names; without the default file, that of the state directory."""
    unnamed = source == Source(default_config()) and not source.config.exists()
    loaded = None if unnamed else load(source)
    address = loaded.config.storage.address if loaded else None
    return _opened(address or StateDir.open(state_dir).ledger_url, loaded)


@asynccontextmanager
async def _opened(url: str, loaded: Loaded | None) -> AsyncIterator[tuple[Ledger, Loaded | None]]:
    ledger = await open_ledger(url, operator()["principal"])
    try:
        yield ledger, loaded
    finally:
        await ledger.close()


async def unheard(ledger: Ledger) -> tuple[str, ...]:
    """Say so where no gateway has run on this ledger yet: one on another ledger hears nothing of what is done here."""
    if (await ledger.meta()).config_hash is not None:
        return ()
    return ("no gateway has run on this ledger yet; one that runs with another --state-dir hears nothing of this",)


def operator() -> dict[str, Any]:
    """Return who acts on the command line, as an audit event names it."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    return {"principal": f"local:{name}", "kind": "command_line", "issuer": None, "credential_id": None}


def key_on_stdin() -> str:
    """Return the key that is passed on stdin; never as an argument, which other users of the machine could see."""
    secret = sys.stdin.readline().rstrip("\r\n")
    if not secret:
        raise click.UsageError("pass the key on stdin: … < file")
    if secret.startswith(keys.PREFIX) and not keys.looks_like_key(secret):
        raise click.ClickException("that begins like a key of this gateway, and its checksum is wrong: mistyped or cut")
    return secret


def moment(milliseconds: int | None) -> str:
    """Return a time of the ledger for people, in UTC; a dash where there is none."""
    if milliseconds is None:
        return "-"
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def print_json(value: Any) -> None:
    """Print one line of JSON, in ASCII: what strangers wrote may hold characters that end lines or turn text (A62)."""
    click.echo(json.dumps(value))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Print a table, or the word for none; columns are never cut, so that what is shown can be copied."""
    if not rows:
        click.echo(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    widths = [max(map(cell_len, column)) for column in zip(columns, *rows, strict=True)]
    for name in columns:
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    console = Console(highlight=False)
    console.width = max(console.width, sum(widths) + 2 * len(widths))
    console.print(table, soft_wrap=True)


def plain(text: str) -> str:
    """Return text with control characters made visible: names come from strangers, terminals obey them (A62)."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, for people."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
